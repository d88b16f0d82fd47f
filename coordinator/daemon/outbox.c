/* What may happen only after the commit: replies to devices, removal of files. */
#include "daemon/daemon_int.h"

#include <string.h>

enum outbox_kind { OUTBOX_SEND, OUTBOX_REMOVE, OUTBOX_SHRED, OUTBOX_REMOVE_TREE };

struct outbox_item {
    struct outbox_item *next;
    enum outbox_kind kind;
    struct transport_server *server;
    uint64_t peer;
    size_t control_bytes, payload_bytes;
    uint8_t bytes[]; /* control, payload; or a path */
};
struct outbox {
    struct outbox_item *first, **last;
    struct buf scratch;
};

struct outbox *outbox_new(void) {
    struct outbox *o = mem_zalloc(sizeof *o);
    if (!o)
        return NULL;
    o->last = &o->first;
    buf_init(&o->scratch, WIRE_CONTROL_MAX);
    return o;
}

static void clear(struct outbox *o) {
    while (o->first) {
        struct outbox_item *item = o->first;
        o->first = item->next;
        mem_free(item);
    }
    o->last = &o->first;
}

void outbox_free(struct outbox *o) {
    if (!o)
        return;
    clear(o);
    buf_deinit(&o->scratch);
    mem_free(o);
}

static struct outbox_item *append(struct outbox *o, enum outbox_kind kind, struct view a,
                                  struct view b, struct sotto_error *err) {
    struct outbox_item *item = mem_alloc(sizeof *item + a.n + b.n + 1);
    if (!item) {
        (void)SOTTO_FAIL(err, SOTTO_NOMEM, "outbox: out of memory");
        return NULL;
    }
    memset(item, 0, sizeof *item);
    item->kind = kind;
    item->control_bytes = a.n;
    item->payload_bytes = b.n;
    if (a.n)
        memcpy(item->bytes, a.p, a.n);
    if (b.n)
        memcpy(item->bytes + a.n, b.p, b.n);
    item->bytes[a.n + b.n] = '\0';
    *o->last = item;
    o->last = &item->next;
    return item;
}

enum sotto_status outbox_send(struct outbox *o, const struct reply_to *to,
                              const sotto_Envelope *message, struct view payload,
                              struct sotto_error *err) {
    if (!to || !to->server)
        return SOTTO_OK;
    struct sotto_error why = SOTTO_ERROR_INIT;
    enum sotto_status status = wire_encode(message, &o->scratch, &why);
    if (status == SOTTO_NOMEM)
        return SOTTO_FAIL(err, status, "%s", why.message);
    if (status != SOTTO_OK) { /* our own bug in one answer: the device asks again, the others must
                                 not suffer */
        LOG(LOG_ERROR, "device.answer", LS("message", wire_name(message)),
            LS("reason", why.message));
        return SOTTO_OK;
    }
    struct outbox_item *item = append(o, OUTBOX_SEND, buf_view(&o->scratch), payload, err);
    if (!item)
        return SOTTO_NOMEM;
    item->server = to->server;
    item->peer = to->peer;
    return SOTTO_OK;
}

enum sotto_status outbox_send_error(struct outbox *o, const struct reply_to *to,
                                    enum sotto_status what, uint64_t retry_ms, const char *text,
                                    struct sotto_error *err) {
    sotto_Envelope e = sotto_Envelope_init_zero;
    e.version = WIRE_VERSION;
    e.which_body = sotto_Envelope_error_tag;
    e.body.error.status = (uint32_t)what;
    e.body.error.retry_ms = retry_ms;
    WIRE_SET_TEXT(e.body.error.text, text);
    return outbox_send(o, to, &e, view_of(NULL, 0), err);
}

enum sotto_status outbox_remove(struct outbox *o, const char *path, bool shred,
                                struct sotto_error *err) {
    return append(o, shred ? OUTBOX_SHRED : OUTBOX_REMOVE, view_of(path, strlen(path)),
                  view_of(NULL, 0), err)
               ? SOTTO_OK
               : SOTTO_NOMEM;
}

enum sotto_status outbox_remove_tree(struct outbox *o, const char *path, struct sotto_error *err) {
    return append(o, OUTBOX_REMOVE_TREE, view_of(path, strlen(path)), view_of(NULL, 0), err)
               ? SOTTO_OK
               : SOTTO_NOMEM;
}

static enum sotto_status perform(struct outbox_item *item, struct sotto_error *err) {
    const char *path = (const char *)item->bytes;
    switch (item->kind) {
    case OUTBOX_SEND: {
        struct view payload = view_of(
            item->payload_bytes ? item->bytes + item->control_bytes : NULL, item->payload_bytes);
        struct sotto_error ignored = SOTTO_ERROR_INIT;
        (void)transport_server_send(item->server, item->peer,
                                    view_of(item->bytes, item->control_bytes), payload, &ignored);
        return SOTTO_OK;
    }
    case OUTBOX_REMOVE:
        return io_remove(path, err);
    case OUTBOX_SHRED:
        return io_shred(path, err);
    case OUTBOX_REMOVE_TREE:
        return io_exists(path) ? io_remove_tree(path, err) : SOTTO_OK;
    }
    return SOTTO_OK;
}

enum sotto_status outbox_flush(struct outbox *o, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    for (struct outbox_item *item = o->first; item && status == SOTTO_OK; item = item->next)
        status = perform(item, err);
    clear(o);
    return status;
}
