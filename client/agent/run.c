/* enroll, run, document, forget: the commands that change who the device is or what it does. */
#include "agent/agent.h"

#include "lib/client_int.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_BYTES   (ID_TOKEN_MAX + 64)
#define CONDITIONS_MS 5000 /* between two looks at the device */

/* A file's content, or standard input's for "-". */
static enum sotto_status read_input(const char *name, size_t max, struct buf *out,
                                    struct sotto_error *err) {
    uint8_t piece[4096];
    size_t n;
    if (strcmp(name, "-") != 0)
        return io_read_file(name, max, out, err);
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0) {
        buf_put(out, piece, n);
        if (out->status != SOTTO_OK)
            return SOTTO_FAIL(err, out->status, "standard input holds more than %zu bytes", max);
    }
    return SOTTO_OK;
}

static enum sotto_status read_token(const char *word, struct buf *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    if (strncmp(word, "sotto1:", 7) == 0)
        buf_put(out, word, strlen(word));
    else
        status = read_input(word, TOKEN_BYTES, out, err);
    while (out->len > 0 && strchr(" \t\r\n", out->data[out->len - 1]) != NULL)
        out->len--;
    buf_put_u8(out, 0);
    if (status == SOTTO_OK && out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "the token is too long");
    return status;
}

static int enroll_result(const struct agent_args *a, const sotto_client *c, bool done) {
    sotto_client_state state = {.size = sizeof state};
    sotto_client_state_get(c, &state);
    if (a->json)
        printf("{\"serial\":%llu,\"enrolled\":%s}\n", (unsigned long long)state.serial,
               done ? "true" : "false");
    else if (done)
        printf("Enrolled with serial %llu.\nNext: sotto-client import ..., sotto-client run\n",
               (unsigned long long)state.serial);
    else
        fprintf(stderr,
                "sotto-client: the token is kept, the coordinator has not answered yet%s%s; "
                "sotto-client run goes on trying\n",
                state.note[0] != '\0' ? ": " : "", state.note);
    return done ? 0 : 3;
}

int agent_enroll(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client *c = NULL;
    struct buf token;
    enum sotto_status status;
    int code = 0;
    buf_init(&token, TOKEN_BYTES + 1);
    TRY(read_token(a->args[0], &token, &err));
    TRY(agent_open(a, &c, &err));
    status = (enum sotto_status)sotto_client_enroll(c, (const char *)token.data);
    if (status != SOTTO_OK)
        TRY_FAIL(&err, status, "%s", sotto_client_error(c));
    const uint64_t end = clock_mono_ms() + (a->wait_ms > 0 ? a->wait_ms : 30000);
    while (!sotto_client_enrolled(c) && !agent_stopped() && clock_mono_ms() < end) {
        status = (enum sotto_status)sotto_client_poll(c, 100);
        if (status != SOTTO_OK)
            TRY_FAIL(&err, status, "%s", sotto_client_error(c));
    }
    code = enroll_result(a, c, sotto_client_enrolled(c));
out:
    if (token.len > 0)
        id_wipe(token.data, token.len);
    buf_deinit(&token);
    sotto_client_close(c);
    return status == SOTTO_OK ? code : agent_fail(&err);
}

static void print_result(const struct agent_args *a, const sotto_client *c, uint32_t rounds) {
    sotto_client_state s = {.size = sizeof s};
    char up[32], down[32];
    sotto_client_state_get(c, &s);
    if (a->json)
        printf("{\"reports\":%u,\"bytes_up\":%llu,\"bytes_down\":%llu}\n", rounds,
               (unsigned long long)s.bytes_up, (unsigned long long)s.bytes_down);
    else
        printf("%u report%s acknowledged, %s sent, %s received.\n", rounds, rounds == 1 ? "" : "s",
               num_format_size(up, sizeof up, s.bytes_up),
               num_format_size(down, sizeof down, s.bytes_down));
}

/* Tells the client what the device is like now; what cannot be read is said once. */
static void look_around(sotto_client *c, uint64_t *due_ms) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client_conditions now;
    char file[IO_PATH_MAX];
    if (clock_mono_ms() < *due_ms ||
        io_join(file, sizeof file, devstore_dir(c->store), "conditions", NULL) != SOTTO_OK)
        return;
    *due_ms = clock_mono_ms() + CONDITIONS_MS;
    const bool working = c->work.kind == CLIENT_WORK_TRAINING;
    if (agent_conditions_read("/", file, working, &now, &err) != SOTTO_OK && c->conditions.online)
        LOG(LOG_ERROR, "client.conditions", LS("reason", err.message));
    sotto_client_conditions_set(c, &now);
}

/* Whether --once has what it wanted; failures that will not end give an exit code. */
static bool once_is_over(const sotto_client *c, uint32_t rounds_before, int *code) {
    if (!sotto_client_enrolled(c) && c->enroll.failures >= 4) {
        fprintf(stderr, "sotto-client: not enrolled yet: %s\n", c->note);
        *code = 3;
        return true;
    }
    if (c->session == NULL)
        return false;
    if (c->rounds_done > rounds_before || session_answers(c->session) > 0)
        return true;
    if (session_failures(c->session) >= 4) {
        fprintf(stderr, "sotto-client: no coordinator can be reached: %s\n",
                session_reason(c->session));
        *code = 3;
        return true;
    }
    const char *reason = session_reason(c->session);
    if (session_phase(c->session) == SESSION_IDLE &&
        (strncmp(reason, "policy.", 7) == 0 || strcmp(reason, "offline") == 0)) {
        fprintf(stderr, "sotto-client: nothing done: %s\n", reason);
        return true;
    }
    return false;
}

int agent_run(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client *c = NULL;
    enum sotto_status status;
    int code = 0;
    TRY(agent_open(a, &c, &err));
    if (!c->have_identity)
        TRY_FAIL(&err, SOTTO_STATE, "this device is not enrolled: sotto-client enroll TOKEN");
    const uint32_t before = c->rounds_done;
    uint64_t look_ms = 0;
    while (!agent_stopped()) {
        look_around(c, &look_ms);
        status = (enum sotto_status)sotto_client_poll(c, 1000);
        if (status == SOTTO_CORRUPT || status == SOTTO_VERSION ||
            (status != SOTTO_OK && (!sotto_client_enrolled(c) || a->once)))
            TRY_FAIL(&err, status, "%s", sotto_client_error(c));
        status = SOTTO_OK; /* the client goes on by itself */
        if (a->once && once_is_over(c, before, &code))
            break;
    }
    print_result(a, c, c->rounds_done - before);
out:
    sotto_client_close(c);
    return status == SOTTO_OK ? code : agent_fail(&err);
}

int agent_document(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client *c = NULL;
    struct buf bytes;
    enum sotto_status status;
    buf_init(&bytes, (size_t)16 << 20);
    TRY(read_input(a->args[0], (size_t)16 << 20, &bytes, &err));
    TRY(agent_open(a, &c, &err));
    status = (enum sotto_status)sotto_client_document(c, bytes.data, bytes.len);
    if (status != SOTTO_OK)
        TRY_FAIL(&err, status, "%s", sotto_client_error(c));
    printf(a->json ? "{\"document\":%llu}\n" : "Document %llu taken.\n",
           (unsigned long long)c->document.version);
out:
    buf_deinit(&bytes);
    sotto_client_close(c);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}

int agent_forget(struct agent_args *a) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    sotto_client *c = NULL;
    enum sotto_status status = SOTTO_OK;
    char answer[16] = "";
    if (!a->yes) {
        if (!isatty(STDIN_FILENO))
            TRY_FAIL(&err, SOTTO_USAGE, "forget wipes all examples for good: say --yes");
        fprintf(stderr, "This wipes all examples, residuals and reports for good. Type forget: ");
        if (fgets(answer, sizeof answer, stdin) == NULL || strcmp(answer, "forget\n") != 0)
            TRY_FAIL(&err, SOTTO_CANCELLED, "nothing wiped");
    }
    TRY(agent_open(a, &c, &err));
    status = (enum sotto_status)sotto_client_forget(c);
    if (status != SOTTO_OK)
        TRY_FAIL(&err, status, "%s", sotto_client_error(c));
    printf(
        a->json
            ? "{\"forgotten\":true}\n"
            : "Examples, residuals, reports and models are wiped; identity and counters stay.\n");
out:
    sotto_client_close(c);
    return status == SOTTO_OK ? 0 : agent_fail(&err);
}
