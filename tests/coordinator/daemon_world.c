/* The world of the daemon's tests. */
#include "daemon_world.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sotto/client/session.h"
#include "sotto/config.h"

void world_init(struct world *w, const char *name) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char keys[IO_PATH_MAX], path[IO_PATH_MAX];
    struct config *config = NULL;
    memset(w, 0, sizeof *w);
    log_setup(getenv("SOTTO_TEST_LOG") ? LOG_DEBUG : LOG_ERROR, LOG_TEXT);
    ASSERT_OK(id_setup(&err));
    snprintf(w->state, sizeof w->state, "%s", test_path(name));
    ASSERT_OK(io_join(keys, sizeof keys, w->state, "keys", &err));
    ASSERT_OK(io_mkdir_p(keys, 0700, &err));
    id_keys_generate(&w->authority);
    ASSERT_OK(io_join(path, sizeof path, keys, "authority.pub", &err));
    ASSERT_OK(io_write_file(path, w->authority.public_key, ID_KEY, 0600, false, &err));
    ASSERT_OK(io_join(path, sizeof path, keys, "authority-beside", &err));
    ASSERT_OK(io_write_file(path, "1\n", 2, 0600, false, &err));
    buf_init(&w->document_bytes, 1u << 20);
    /* Defaults of the option table, with strings of our own: they outlive the loaded config. */
    ASSERT_OK(config_load(daemon_options, &w->config, NULL, (const char *const[]){"state=x"}, 1,
                          &config, &err));
    w->config.state_dir = w->state;
    w->config.listen = (char *)(uintptr_t) "tcp://127.0.0.1:*";
    w->config.control = w->config.data_dir = (char *)(uintptr_t) "";
    w->config.workers = 2;
    w->config.devices_max = 64;
    w->config.round_keys_dir = (char *)(uintptr_t)test_tmpdir();
    w->config.round_keys = 1; /* of which the folder's kind is not looked at */
    config_free(config);
}

void world_start(struct world *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    ASSERT_OK(coordinator_open(&w->config, &w->c, &err));
    snprintf(w->address, sizeof w->address, "%s", coordinator_address(w->c));
}

void world_start_program(struct world *w) {
    int out[2];
    char program[IO_PATH_MAX], keys[IO_PATH_MAX + 32], line[256] = "";
    const char *bin = getenv("SOTTO_BIN");
    assert_non_null(bin);
    snprintf(program, sizeof program, "%s/sotto-coordinator", bin);
    snprintf(keys, sizeof keys, "round_keys_dir=%s", test_tmpdir());
    assert_int_equal(pipe(out), 0);
    w->child = fork();
    assert_true(w->child >= 0);
    if (w->child == 0) {
        (void)dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl(program, program, "--state", w->state, "--set", "workers=2", "--set", keys, "--set",
              "round_keys=disk", "--set", "log.level=error", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *in = fdopen(out[0], "r");
    assert_non_null(in);
    assert_non_null(fgets(line, sizeof line, in));
    assert_int_equal(sscanf(line, "listening on %255s", w->address), 1);
    fclose(in);
}

static void disconnect_all(struct world *w) {
    for (uint32_t i = 0; i < w->device_count; i++)
        device_disconnect(&w->devices[i]);
}

void world_stop(struct world *w) {
    disconnect_all(w);
    coordinator_close(w->c);
    w->c = NULL;
}

void world_kill(struct world *w) {
    int status;
    assert_int_equal(kill(w->child, SIGKILL), 0);
    assert_int_equal(waitpid(w->child, &status, 0), w->child);
    w->child = 0;
    disconnect_all(w);
}

void world_deinit(struct world *w) {
    if (w->child)
        world_kill(w);
    world_stop(w);
    for (uint32_t i = 0; i < w->device_count; i++) {
        id_token_deinit(&w->devices[i].token);
        buf_deinit(&w->devices[i].report);
    }
    package_deinit(&w->package);
    id_document_deinit(&w->document);
    buf_deinit(&w->document_bytes);
}

void world_turn(struct world *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (w->c)
        ASSERT_OK(coordinator_run_once(w->c, 2, &err));
}

/* ---- Control
 * ---------------------------------------------------------------------------------------------------------
 */

static bool receive(struct world *w, int fd, void *out, size_t n) {
    uint8_t *p = out;
    uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    while (n > 0) {
        ssize_t got = recv(fd, p, n, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            assert_true(clock_mono_ms() < end);
            world_turn(w);
            if (!w->c)
                usleep(200);
            continue;
        }
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static enum sotto_status ask(struct world *w, struct buf *out, bool json, const char *command,
                             struct view a, struct view b) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    struct view args[] = {view_of(command, strlen(command)), a, b, view_of("0", 1)};
    uint32_t count = !a.p ? 1 : !b.p ? 2 : 3, head[2];
    struct buf request;
    buf_init(&request, 1u << 22);
    buf_put_u32(&request, 0);
    buf_put_u8(&request, json);
    buf_put_u32(&request, count);
    for (uint32_t i = 0; i < count; i++) {
        buf_put_u32(&request, (uint32_t)args[i].n);
        buf_put(&request, args[i].p, args[i].n);
    }
    uint32_t size = (uint32_t)request.len - 4;
    memcpy(request.data, &size, 4);
    snprintf(to.sun_path, sizeof to.sun_path, "%.90s/control.sock", w->state);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    enum sotto_status status = SOTTO_UNREACHABLE;
    buf_reset(out);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 &&
        send(fd, request.data, request.len, MSG_NOSIGNAL) == (ssize_t)request.len &&
        receive(w, fd, head, sizeof head)) {
        status = (enum sotto_status)head[0];
        uint8_t *p = head[1] ? buf_grow(out, head[1]) : NULL;
        if (head[1] && (!p || !receive(w, fd, p, head[1])))
            status = SOTTO_UNREACHABLE;
    }
    close(fd);
    buf_deinit(&request);
    return status;
}

enum sotto_status world_ask(struct world *w, struct buf *out, const char *command, struct view a,
                            struct view b) {
    return ask(w, out, false, command, a, b);
}

static struct view text_or_none(const char *s) {
    return s ? view_of(s, strlen(s)) : view_of(NULL, 0);
}

enum sotto_status world_say(struct world *w, const char *command, const char *a, const char *b) {
    struct buf out;
    buf_init(&out, 1u << 24);
    enum sotto_status status =
        ask(w, &out, false, command, text_or_none(a), a ? text_or_none(b) : view_of(NULL, 0));
    if (status != SOTTO_OK)
        printf("# %s: %.*s\n", command, (int)out.len, out.len ? (const char *)out.data : "");
    buf_deinit(&out);
    return status;
}

const char *world_json(struct world *w, const char *command, const char *a, const char *b) {
    static char text[1u << 18];
    struct buf out;
    buf_init(&out, sizeof text - 1);
    enum sotto_status status =
        ask(w, &out, true, command, text_or_none(a), a ? text_or_none(b) : view_of(NULL, 0));
    if (status == SOTTO_OK && out.len)
        memcpy(text, out.data, out.len);
    text[status == SOTTO_OK ? out.len : 0] = '\0';
    buf_deinit(&out);
    return text;
}

void world_certify(struct world *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct id_document d;
    struct buf request, answer;
    memset(&d, 0, sizeof d);
    buf_init(&request, 1u << 20);
    buf_init(&answer, 1u << 16);
    assert_int_equal(world_ask(w, &request, "document-request", view_of(NULL, 0), view_of(NULL, 0)),
                     SOTTO_OK);
    ASSERT_OK(id_document_request_read(buf_view(&request), &d, &err));
    buf_reset(&w->document_bytes);
    ASSERT_OK(id_document_sign(&d, &w->authority, &w->document_bytes, &err));
    assert_int_equal(
        world_ask(w, &answer, "document-import", buf_view(&w->document_bytes), view_of(NULL, 0)),
        SOTTO_OK);
    id_document_deinit(&w->document);
    w->document = d;
    buf_deinit(&request);
    buf_deinit(&answer);
}

void world_task(struct world *w, const char *name, unsigned cohort, const char *more) {
    char yaml[2048];
    snprintf(yaml, sizeof yaml,
             "task: {name: %s, seed: 7}\nmodel: {zoo: logreg}\ncohort: %u\npace: 10ms\n"
             "evaluation: {count: 50}\n%s",
             name, cohort, more);
    assert_int_equal(world_say(w, "task-create", "test.yaml", yaml), SOTTO_OK);
}

/* ---- Devices
 * ---------------------------------------------------------------------------------------------------------
 */

struct device *world_device(struct world *w) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf answer;
    uint8_t ticket[ID_TICKET_BYTES];
    uint64_t serial = 0;
    assert_true(w->device_count < WORLD_DEVICES);
    struct device *d = &w->devices[w->device_count++];
    memset(d, 0, sizeof *d);
    d->w = w;
    buf_init(&d->report, 1u << 24);
    buf_init(&answer, 1u << 16);
    if (w->document_bytes.len == 0)
        world_certify(w);
    assert_int_equal(world_ask(w, &answer, "serials", view_of("1", 1), view_of(NULL, 0)), SOTTO_OK);
    assert_int_equal(answer.len, 8);
    memcpy(&serial, answer.data, 8);
    ASSERT_OK(id_token_issue(&w->authority, serial, clock_wall_ms() + 3600000,
                             buf_view(&w->document_bytes), &d->token, &err));
    id_ticket_encode(&d->token.ticket, ticket);
    assert_int_equal(
        world_ask(w, &answer, "tickets", view_of(ticket, sizeof ticket), view_of(NULL, 0)),
        SOTTO_OK);
    buf_deinit(&answer);
    d->serial = serial;
    id_keys_generate(&d->keys);
    id_curve_generate(&d->curve);
    return d;
}

void device_connect(struct device *d, const struct id_curve *keys) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    device_disconnect(d);
    struct transport_client_config config = {d->w->address, d->w->document.endpoints[0].curve_key,
                                             keys};
    ASSERT_OK(transport_client_open(&config, &d->link, &err));
}

void device_disconnect(struct device *d) {
    transport_client_close(d->link);
    d->link = NULL;
}

void device_send_raw(struct device *d, struct view control, struct view payload) {
    struct world *w = d->w;
    uint64_t end = clock_mono_ms() + (w->patience_ms ? w->patience_ms : WORLD_PATIENCE);
    while (!w->lost && transport_client_send(d->link, control, payload, NULL) != SOTTO_OK) {
        struct view a, b;
        w->lost = w->patience_ms && clock_mono_ms() >= end;
        assert_true(w->lost || clock_mono_ms() < end);
        world_turn(d->w);
        (void)transport_client_recv(d->link, d->w->c ? 0 : 5, &a, &b, NULL);
    }
}

void device_send(struct device *d, const sotto_Envelope *e, struct view payload) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct buf frame;
    buf_init(&frame, WIRE_CONTROL_MAX);
    ASSERT_OK(wire_encode(e, &frame, &err));
    device_send_raw(d, buf_view(&frame), payload);
    buf_deinit(&frame);
}

bool device_recv(struct device *d, unsigned ms, sotto_Envelope *e, struct buf *payload) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct world *w = d->w;
    unsigned limit = ms ? ms : w->patience_ms ? w->patience_ms : WORLD_PATIENCE;
    uint64_t end = clock_mono_ms() + limit;
    struct view control, body;
    for (;;) {
        if (w->lost)
            return false;
        if (transport_client_recv(d->link, d->w->c ? 0 : 5, &control, &body, NULL) == SOTTO_OK)
            break;
        if (clock_mono_ms() >= end) {
            w->lost = !ms && w->patience_ms;
            if (!ms && !w->lost)
                fail_msg("device %llu waits for an answer in vain", (unsigned long long)d->serial);
            return false;
        }
        world_turn(d->w);
    }
    ASSERT_OK(wire_decode(control, e, &err));
    if (payload) {
        buf_reset(payload);
        buf_put(payload, body.p, body.n);
    }
    return true;
}

enum sotto_status device_enroll_as(struct device *d, const struct id_keys *keys,
                                   const struct id_curve *curve) {
    struct id_keys e;
    struct id_curve once;
    struct id_cert cert;
    sotto_Envelope m = sotto_Envelope_init_zero;
    uint8_t bytes[ID_CERT_BYTES];
    id_token_keys(&d->token, &e, &once);
    id_cert_make(&d->token, keys->public_key, curve->public_key, &cert);
    id_cert_encode(&cert, bytes);
    m.which_body = sotto_Envelope_enroll_tag;
    m.body.enroll.certificate.size = ID_CERT_BYTES;
    memcpy(m.body.enroll.certificate.bytes, bytes, sizeof bytes);
    WIRE_SET_TEXT(m.body.enroll.version, "test");
    device_connect(d, &once);
    device_send(d, &m, view_of(NULL, 0));
    device_recv(d, 0, &m, NULL);
    assert_int_equal(m.which_body, sotto_Envelope_enroll_reply_tag);
    return (enum sotto_status)m.body.enroll_reply.status;
}

enum sotto_status device_enroll(struct device *d) {
    return device_enroll_as(d, &d->keys, &d->curve);
}

struct device *world_enrolled(struct world *w) {
    struct device *d = world_device(w);
    assert_int_equal(device_enroll(d), SOTTO_OK);
    device_connect(d, &d->curve);
    return d;
}

void device_check_in(struct device *d, sotto_CheckInReply *reply) {
    static sotto_Envelope m;
    struct sotto_error err = SOTTO_ERROR_INIT;
    memset(&m, 0, sizeof m);
    m.which_body = sotto_Envelope_check_in_tag;
    sotto_CheckIn *in = &m.body.check_in;
    id_random(d->nonce, sizeof d->nonce);
    in->nonce.size = WIRE_NONCE;
    memcpy(in->nonce.bytes, d->nonce, WIRE_NONCE);
    in->document_version = d->w->document.version;
    in->memory_bytes = 1u << 30;
    WIRE_SET_TEXT(in->backend, "cpu");
    WIRE_SET_TEXT(in->version, "test");
    if (d->terms_size && d->acknowledged) {
        in->open_reports_count = 1;
        WIRE_SET_HASH(in->open_reports[0].terms_hash, &d->terms_hash);
    } else if (d->terms_size) {
        WIRE_SET_HASH(in->terms_held, &d->terms_hash);
    }
    device_send(d, &m, view_of(NULL, 0));
    memset(reply, 0, sizeof *reply);
    d->planned = false;
    do
        if (!device_recv(d, 0, &m, NULL))
            return;
    while (m.which_body != sotto_Envelope_check_in_reply_tag);
    *reply = m.body.check_in_reply;
    d->planned = reply->terms.size > 0;
    if (!d->planned)
        return;
    struct view bytes = view_of(reply->terms.bytes, reply->terms.size);
    struct wire_hash hash = wire_terms_hash(bytes);
    ASSERT_OK(id_verify(reply->signing_key.bytes, ID_LABEL_TERMS, bytes,
                        reply->terms_signature.bytes, &err));
    assert_memory_equal(reply->invitation.nonce.bytes, d->nonce, WIRE_NONCE);
    assert_int_equal(reply->invitation.serial, d->serial);
    if (d->terms_size && wire_hash_equal(&hash, &d->terms_hash))
        return;
    ASSERT_OK(wire_terms_decode(bytes, &d->terms, &err));
    memcpy(d->terms_bytes, bytes.p, bytes.n);
    d->terms_size = bytes.n;
    d->terms_hash = hash;
    d->acknowledged = false;
    buf_reset(&d->report);
}

void device_plan(struct device *d) {
    sotto_CheckInReply reply;
    uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    do {
        assert_true(clock_mono_ms() < end);
        device_check_in(d, &reply);
    } while (!d->planned);
}

void device_fetch(struct device *d) {
    static sotto_Envelope m;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct wire_hash want;
    struct buf blob, chunk;
    WIRE_GET_HASH(d->terms.package_hash, &want);
    if (wire_hash_equal(&want, &d->w->package_hash))
        return;
    buf_init(&blob, PACKAGE_BYTES_MAX);
    buf_init(&chunk, TRANSPORT_PAYLOAD_MAX);
    for (uint32_t i = 0, chunks = 1; i < chunks; i++) {
        memset(&m, 0, sizeof m);
        m.which_body = sotto_Envelope_get_package_tag;
        WIRE_SET_HASH(m.body.get_package.hash, &want);
        m.body.get_package.index = i;
        m.body.get_package.count = 1;
        device_send(d, &m, view_of(NULL, 0));
        if (!device_recv(d, 0, &m, &chunk))
            goto out;
        assert_int_equal(m.which_body, sotto_Envelope_package_chunk_tag);
        assert_int_equal(m.body.package_chunk.index, i);
        chunks = m.body.package_chunk.chunks;
        buf_put(&blob, chunk.data, chunk.len);
    }
    struct wire_hash got = wire_hash_of(WIRE_LABEL_PACKAGE, buf_view(&blob));
    assert_memory_equal(&got, &want, sizeof got);
    package_deinit(&d->w->package);
    memset(&d->w->package, 0, sizeof d->w->package);
    ASSERT_OK(package_decode(buf_view(&blob), &d->w->package, &err));
    d->w->package_hash = want;
out:
    buf_deinit(&blob);
    buf_deinit(&chunk);
}

void device_seal(struct device *d, const struct lie *lie) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct codec_spec spec;
    struct codec_update update;
    struct codec_input in;
    struct rng rng;
    uint8_t key[SEAL_KEY], public_key[SEAL_PUBLIC], secret_key[SEAL_SECRET];
    const struct layout *layout = &d->w->package.graph.layout;
    terms_spec(&d->terms, layout, &spec);
    memset(&in, 0, sizeof in);
    codec_update_init(&update);
    rng_init(&rng, d->terms.task_seed, d->terms.round, d->serial, RNG_ROUNDING);
    float *values = mem_array(layout->total, sizeof *values);
    assert_non_null(values);
    for (uint32_t i = 0; i < layout->total; i++)
        values[i] = 0.02f * (lie ? lie->scale : 1.0f) *
                    ((float)((d->serial * 31 + d->terms.round * 17 + i * 7) % 101) / 50.0f - 1.0f);
    in.values[0] = values;
    in.scalars[CODEC_WEIGHT] = lie && lie->weight > 0 ? lie->weight : 10;
    in.scalars[CODEC_STEPS] = 1;
    in.scalars[CODEC_LOSS] = 2.5 * (double)d->serial;
    in.scalars[CODEC_CORRECT] = 5;
    in.scalars[CODEC_SEEN] = 10;
    if (lie) { /* the liar's own encoder knows no bounds but those of the form */
        spec.pipeline.clip_norm = 0;
        spec.pipeline.clip_inf = 1000;
        spec.weight_max = 1u << 20;
    }
    ASSERT_OK(codec_encode(&spec, &in, &rng, &update, &err));
    if (lie && lie->nan) /* in the first block of fp32 values */
        memset(update.bytes.data + update.ends[0] + 16, 0xff, 64);
    memcpy(public_key, d->terms.round_key.bytes, SEAL_PUBLIC);
    if (lie && lie->wrong_key)
        seal_keypair(public_key, secret_key);
    id_random(key, sizeof key);
    ASSERT_OK(seal_report(&update, public_key, &d->terms_hash,
                          lie && lie->serial ? lie->serial : d->serial, key, &d->report, &err));
    d->report_hash = wire_hash_of(WIRE_LABEL_REPORT, buf_view(&d->report));
    codec_update_deinit(&update);
    mem_free(values);
}

static void send_chunks(struct device *d, uint32_t first, uint32_t count) {
    static sotto_Envelope m;
    for (uint32_t i = first; i < first + count && i < chunk_count(d->report.len); i++) {
        memset(&m, 0, sizeof m);
        m.which_body = sotto_Envelope_report_chunk_tag;
        WIRE_SET_HASH(m.body.report_chunk.terms_hash, &d->terms_hash);
        m.body.report_chunk.index = i;
        device_send(
            d, &m, view_of(d->report.data + (size_t)i * CHUNK_BYTES, chunk_size(d->report.len, i)));
    }
}

bool device_upload(struct device *d, sotto_ReportAck *ack, enum sotto_status *status) {
    static sotto_Envelope m;
    memset(&m, 0, sizeof m);
    m.which_body = sotto_Envelope_report_open_tag;
    WIRE_SET_HASH(m.body.report_open.terms_hash, &d->terms_hash);
    m.body.report_open.bytes = d->report.len;
    WIRE_SET_HASH(m.body.report_open.hash, &d->report_hash);
    device_send(d, &m, view_of(NULL, 0));
    for (;;) {
        if (!device_recv(d, 0, &m, NULL)) {
            *status = SOTTO_TIMEOUT;
            return false;
        }
        switch (m.which_body) {
        case sotto_Envelope_report_grant_tag:
            send_chunks(d, m.body.report_grant.next_index, m.body.report_grant.credit);
            break;
        case sotto_Envelope_report_ack_tag:
            *ack = m.body.report_ack;
            d->acknowledged |= ack->status == SOTTO_OK;
            return true;
        case sotto_Envelope_error_tag:
            *status = (enum sotto_status)m.body.error.status;
            return false;
        default:
            break;
        }
    }
}

void device_report(struct device *d) {
    sotto_ReportAck ack;
    enum sotto_status status = SOTTO_OK;
    device_plan(d);
    device_fetch(d);
    device_seal(d, NULL);
    assert_true(device_upload(d, &ack, &status));
    assert_int_equal(ack.status, SOTTO_OK);
}

sotto_Outcome device_outcome(struct device *d, const struct wire_hash *terms) {
    static sotto_CheckInReply reply;
    struct wire_hash keep = d->terms_hash;
    size_t size = d->terms_size;
    bool acknowledged = d->acknowledged;
    d->terms_hash = *terms;
    d->terms_size = 1;
    d->acknowledged = true;
    device_check_in(d, &reply);
    if (!d->planned || wire_hash_equal(&d->terms_hash, terms)) {
        d->terms_hash = keep;
        d->terms_size = size;
        d->acknowledged = acknowledged;
    }
    for (pb_size_t i = 0; i < reply.outcomes_count; i++)
        if (memcmp(reply.outcomes[i].terms_hash.bytes, terms->b, WIRE_HASH) == 0)
            return reply.outcomes[i].outcome;
    return sotto_Outcome_OUTCOME_UNSPECIFIED;
}

void world_await(struct world *w, const char *command, const char *a, const char *text) {
    uint64_t end = clock_mono_ms() + WORLD_PATIENCE;
    while (!strstr(world_json(w, command, a, "0"), text)) {
        if (clock_mono_ms() >= end)
            fail_msg("%s %s never says %s: %s", command, a, text, world_json(w, command, a, "0"));
        world_turn(w);
    }
}

void world_await_version(struct world *w, const char *task, uint32_t version) {
    char text[32];
    snprintf(text, sizeof text, "\"version\":%u,", version);
    world_await(w, "models-list", task, text);
}
