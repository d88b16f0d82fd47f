/* status, policy: the commands that look. */
#include "agent/agent.h"

#include "lib/client_int.h"

#include <stdio.h>
#include <string.h>

/* Opens what is there; a folder without a device is not turned into one. */
enum sotto_status agent_open_store(const struct agent_args *a, struct devstore **out,
                                   struct sotto_error *err) {
    char dir[IO_PATH_MAX], path[IO_PATH_MAX];
    enum sotto_status status;
    TRY(id_setup(err));
    TRY(agent_state_dir(a, dir, sizeof dir, err));
    TRY(io_join(path, sizeof path, dir, "device.db", err));
    if (!io_exists(path))
        TRY_FAIL(err, SOTTO_NOT_FOUND, "no device in %.180s: sotto-client enroll TOKEN", dir);
    TRY(devstore_open(dir, DEVSTORE_SHARE, out, err));
out:
    return status;
}

struct facts {
    struct devstore_identity identity;
    struct id_document document;
    struct devstore_counters counters;
    struct session_saved saved;
    struct buf hold;
    bool have_identity;
};

static enum sotto_status gather(struct devstore *s, struct facts *f, struct sotto_error *err) {
    struct buf bytes;
    enum sotto_status status;
    memset(f, 0, sizeof *f);
    buf_init(&bytes, (size_t)16 << 20);
    buf_init(&f->hold, 0);
    TRY(devstore_session(s, &f->saved, &f->hold, err));
    TRY(devstore_counters_get(s, &f->counters, err));
    status = devstore_identity_get(s, &f->identity, err);
    if (status == SOTTO_NOT_FOUND) {
        status = SOTTO_OK;
        goto out;
    }
    TRY(status);
    id_wipe(&f->identity.keys, sizeof f->identity.keys); /* not needed here */
    id_wipe(&f->identity.curve, sizeof f->identity.curve);
    f->have_identity = true;
    TRY(devstore_document_get(s, &bytes, err));
    TRY(id_document_read(buf_view(&bytes), f->identity.authority, &f->document, err));
out:
    buf_deinit(&bytes);
    return status;
}

static void free_facts(struct facts *f) {
    buf_deinit(&f->hold);
    id_document_deinit(&f->document);
}

static void text_collection(void *ctx, const struct devstore_collection *c) {
    char schema[96], size[32];
    buf_printf(ctx, "collection    %s: %llu examples, %s, %s\n", c->name,
               (unsigned long long)c->count, num_format_size(size, sizeof size, c->bytes),
               data_schema_text(&c->schema, schema, sizeof schema));
}

static void text_choice(void *ctx, const struct devstore_choice *c) {
    char hex[2 * WIRE_HASH + 1];
    buf_printf(ctx, "backend       %s, %.0f examples/s at batch %u of model %.8s (measured: %s)\n",
               c->kernels, c->samples_per_s, c->batch, num_format_hex(hex, c->model.b, WIRE_HASH),
               c->detail[0] != '\0' ? c->detail : "no other");
}

static void text_status(struct devstore *s, const struct facts *f, struct buf *out) {
    char hex[2 * ID_KEY + 1], up[32], down[32];
    buf_printf(out, "state         %s\n", devstore_dir(s));
    if (!f->have_identity) {
        buf_printf(out, "identity      none: sotto-client enroll TOKEN\n");
    } else {
        buf_printf(out, "serial        %llu%s\n", (unsigned long long)f->identity.serial,
                   f->identity.enrolled ? "" : " (not enrolled yet)");
        buf_printf(out, "authority     %.16s...\n",
                   num_format_hex(hex, f->identity.authority, ID_KEY));
        buf_printf(out, "document      %llu, plans are %s\n",
                   (unsigned long long)f->document.version,
                   f->document.authority_beside ? "secure against a curious coordinator"
                                                : "certified by an authority elsewhere");
        for (uint32_t i = 0; i < f->document.endpoint_count; i++)
            buf_printf(out, "endpoint      %s\n", f->document.endpoints[i].address);
    }
    (void)devstore_collection_each(s, text_collection, out, NULL);
    (void)devstore_choice_each(s, text_choice, out, NULL);
    buf_printf(out, "work          %s\n",
               f->saved.stage == SESSION_ACCEPTED ? "a plan is under way"
               : f->saved.stage == SESSION_SEALED ? "a sealed report waits to be sent"
               : f->saved.stage == SESSION_READY  ? "an update waits for its secure group"
                                                  : "none");
    buf_printf(out, "reports       %llu acknowledged, %u without an outcome yet\n",
               (unsigned long long)f->counters.rounds_done, f->saved.open_report_count);
    buf_printf(out, "traffic       %s sent, %s received\n",
               num_format_size(up, sizeof up, f->counters.bytes_up),
               num_format_size(down, sizeof down, f->counters.bytes_down));
}

static void json_collection(void *ctx, const struct devstore_collection *c) {
    struct json *j = ctx;
    char schema[96];
    json_object_begin(j);
    json_put_str(j, "name", c->name);
    json_put_u64(j, "examples", c->count);
    json_put_u64(j, "bytes", c->bytes);
    json_put_str(j, "schema", data_schema_text(&c->schema, schema, sizeof schema));
    json_object_end(j);
}

static void json_choice(void *ctx, const struct devstore_choice *c) {
    struct json *j = ctx;
    json_object_begin(j);
    json_key(j, "model");
    json_hex(j, c->model.b, WIRE_HASH);
    json_put_u64(j, "batch", c->batch);
    json_put_str(j, "backend", c->backend);
    json_put_str(j, "kernels", c->kernels);
    json_put_f64(j, "samples_per_s", c->samples_per_s);
    json_put_str(j, "measured", c->detail);
    json_object_end(j);
}

static void json_status(struct devstore *s, const struct facts *f, struct buf *out) {
    struct json j;
    json_init(&j, out);
    json_object_begin(&j);
    json_put_str(&j, "state", devstore_dir(s));
    json_put_bool(&j, "enrolled", f->have_identity && f->identity.enrolled);
    json_put_u64(&j, "serial", f->identity.serial);
    if (f->have_identity) {
        json_key(&j, "authority");
        json_hex(&j, f->identity.authority, ID_KEY);
        json_put_u64(&j, "document", f->document.version);
        json_put_bool(&j, "authority_beside", f->document.authority_beside);
        json_key(&j, "endpoints");
        json_array_begin(&j);
        for (uint32_t i = 0; i < f->document.endpoint_count; i++)
            json_str(&j, f->document.endpoints[i].address);
        json_array_end(&j);
    }
    json_key(&j, "collections");
    json_array_begin(&j);
    (void)devstore_collection_each(s, json_collection, &j, NULL);
    json_array_end(&j);
    json_key(&j, "backends");
    json_array_begin(&j);
    (void)devstore_choice_each(s, json_choice, &j, NULL);
    json_array_end(&j);
    json_put_str(&j, "work",
                 f->saved.stage == SESSION_ACCEPTED ? "accepted"
                 : f->saved.stage == SESSION_SEALED ? "sealed"
                 : f->saved.stage == SESSION_READY  ? (f->saved.masked ? "masked" : "ready")
                                                    : "none");
    json_put_u64(&j, "reports", f->counters.rounds_done);
    json_put_u64(&j, "open_reports", f->saved.open_report_count);
    json_put_u64(&j, "bytes_up", f->counters.bytes_up);
    json_put_u64(&j, "bytes_down", f->counters.bytes_down);
    json_object_end(&j);
    buf_put_u8(out, '\n');
}

int agent_status(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct devstore *s = NULL;
    struct facts facts;
    struct buf out;
    enum sotto_status status;
    memset(&facts, 0, sizeof facts);
    buf_init(&out, (size_t)1 << 20);
    TRY(agent_open_store(a, &s, &err));
    TRY(gather(s, &facts, &err));
    (a->json ? json_status : text_status)(s, &facts, &out);
    agent_print(&out);
out:
    free_facts(&facts);
    buf_deinit(&out);
    devstore_close(s);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}

/* ---- Policy
 * --------------------------------------------------------------------------------------------------------
 */

/* The policy file's lines as one object: values as they are written there, keys that may stand more
 * than once as a list. Cuts up the text. */
static void policy_json(struct buf *text, struct json *j) {
    bool keys = false;
    json_object_begin(j);
    buf_put_u8(text, 0);
    for (char *line = (char *)text->data, *next; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        char *value = strchr(line, ' ');
        if (line[0] == '#' || value == NULL)
            continue;
        *value++ = '\0';
        const bool listed = strcmp(line, "allowed_key") == 0;
        if (listed && !keys) {
            json_key(j, line);
            json_array_begin(j);
        } else if (!listed && keys) {
            json_array_end(j);
        }
        keys = listed;
        if (listed)
            json_str(j, value);
        else
            json_put_str(j, line, value);
    }
    if (keys)
        json_array_end(j);
    json_object_end(j);
}

static void show_policy(const struct agent_args *a, const struct client_policy *policy) {
    struct buf text, out;
    struct json j;
    buf_init(&text, 64u << 10);
    buf_init(&out, 64u << 10);
    client_policy_print(policy, &text);
    if (a->json) {
        json_init(&j, &out);
        policy_json(&text, &j);
        buf_put_u8(&out, '\n');
    }
    agent_print(a->json ? &out : &text);
    buf_deinit(&out);
    buf_deinit(&text);
}

int agent_policy(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct client_policy policy;
    char dir[IO_PATH_MAX], path[IO_PATH_MAX];
    struct json j;
    struct buf text;
    enum sotto_status status;
    buf_init(&text, 64u << 10);
    TRY(agent_state_dir(a, dir, sizeof dir, &err));
    TRY(io_join(path, sizeof path, dir, "policy", &err));
    if (a->arg_count > 0) {
        TRY(client_policy_read(a->args[0], &policy, &err));
        TRY(io_read_file(a->args[0], 64u << 10, &text, &err));
        TRY(io_mkdir_p(dir, 0700, &err));
        TRY(io_write_file(path, text.data, text.len, 0600, true, &err));
        buf_reset(&text);
        if (a->json) {
            json_init(&j, &text);
            json_object_begin(&j);
            json_put_str(&j, "policy", path);
            json_object_end(&j);
            buf_put_u8(&text, '\n');
        } else {
            buf_printf(&text,
                       "Policy checked and kept as %s; it holds from the agent's next start.\n",
                       path);
        }
        agent_print(&text);
        goto out;
    }
    client_policy_defaults(&policy);
    if (a->policy != NULL || io_exists(path))
        TRY(client_policy_read(a->policy != NULL ? a->policy : path, &policy, &err));
    show_policy(a, &policy);
out:
    buf_deinit(&text);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}

void agent_print_policy_defaults(void) {
    struct client_policy policy;
    struct buf text;
    buf_init(&text, 64u << 10);
    client_policy_defaults(&policy);
    client_policy_print(&policy, &text);
    agent_print(&text);
    buf_deinit(&text);
}
