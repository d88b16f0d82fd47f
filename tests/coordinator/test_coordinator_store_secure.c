/* Masked rounds in the coordinator's store: sessions, messages, closes, who was asked for an input,
 * and a schema of before them. */
#include "store/store_int.h"

#include <stdio.h>
#include <string.h>

#include "support.h"

static struct sotto_error err;

static struct store *opened(const char *name) {
    struct store *s = NULL;
    ASSERT_OK(io_mkdir_p(test_path(name), 0700, &err));
    ASSERT_OK(store_open(test_path(name), &s, &err));
    return s;
}

static struct wire_hash hash_of(unsigned n) {
    struct wire_hash h;
    memset(h.b, (int)n, sizeof h.b);
    return h;
}

/* A task with an open round 1 of members 3, 5, 9. */
static int64_t open_round(struct store *s) {
    struct store_task t = {.created_ms = 5, .next_round = 1, .version = 1};
    snprintf(t.name, sizeof t.name, "masked");
    t.yaml = mem_dup("cohort: 3\n", 11);
    t.yaml_bytes = 10;
    ASSERT_OK(store_begin(s, &err));
    ASSERT_OK(store_task_add(s, &t, &err));
    struct store_round r = {.task = t.id, .round = 1, .kind = ROUND_TRAIN, .opened_ms = 1};
    struct round_member members[3] = {{.serial = 3}, {.serial = 5}, {.serial = 9}};
    struct round_group gathering = {
        .members = 3, .goal = 3, .minimum = 1, .state = ROUND_GROUP_GATHERING};
    r.terms_bytes = 4;
    memcpy(r.terms, "abcd", 4);
    r.terms_hash = hash_of(1);
    ASSERT_OK(store_round_add(s, &r, members, 3, &gathering, 1, &err));
    const int64_t id = t.id;
    store_task_deinit(&t);
    return id;
}

static void a_message(struct store *s, int64_t task, uint32_t attempt, uint32_t exchange,
                      uint64_t serial, const char *body) {
    const struct store_message m = {.serial = serial,
                                    .bytes = strlen(body),
                                    .hash = hash_of((unsigned)serial),
                                    .body = view_of(body, strlen(body))};
    ASSERT_OK(store_message_add(s, task, 1, 0, attempt, exchange, &m, &err));
}

static enum sotto_status collect(void *ctx, const struct store_message *m) {
    char *text = ctx;
    snprintf(text + strlen(text), 32, "%llu=%.*s ", (unsigned long long)m->serial, (int)m->body.n,
             (const char *)m->body.p);
    return SOTTO_OK;
}

static void sessions_are_kept(void **state) {
    (void)state;
    struct store *s = opened("sessions");
    const int64_t task = open_round(s);
    struct store_secure *list;
    struct store_group *groups;
    struct store_member *members;
    uint32_t count;
    const struct round_group made = {.members = 2, .goal = 2, .minimum = 2};
    ASSERT_OK(store_groups_replace(s, task, 1, &made, 1, &err));
    ASSERT_OK(store_member_group(s, task, 1, 5, 0, 2, &err));
    ASSERT_OK(store_groups(s, task, 1, &groups, &count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(groups[0].state, ROUND_GROUP_RUNNING);
    mem_free(groups);
    ASSERT_OK(store_members(s, task, 1, &members, &count, &err));
    assert_int_equal(members[1].attempt, 2);
    assert_int_equal(members[0].attempt, 0);
    mem_free(members);
    struct store_secure g = {.attempt = 2,
                             .members = 12,
                             .threshold = 9,
                             .seconds = 0.25,
                             .bytes_up = 1u << 20,
                             .complete = true,
                             .dropped = {1, 0, 2, 0, 3}};
    memset(g.session, 7, sizeof g.session);
    ASSERT_OK(store_secure_set(s, task, 1, &g, &err));
    struct store_secure first = {.attempt = 1, .state = STORE_SECURE_FAILED, .beside = true};
    snprintf(first.reason, sizeof first.reason, "too few");
    ASSERT_OK(store_secure_set(s, task, 1, &first, &err));
    g.state = STORE_SECURE_SUMMED;
    ASSERT_OK(store_secure_set(s, task, 1, &g, &err)); /* replaces */
    ASSERT_OK(store_secure_list(s, task, 1, &list, &count, &err));
    assert_int_equal(count, 2);
    assert_int_equal(list[0].attempt, 1);
    assert_true(list[0].beside && !list[0].complete);
    assert_string_equal(list[0].reason, "too few");
    assert_memory_equal(&list[1], &g, sizeof g);
    mem_free(list);
    ASSERT_OK(store_secure_list(s, task, 2, &list, &count, &err));
    assert_int_equal(count, 0);
    mem_free(list);
    ASSERT_OK(store_commit(s, &err));
    store_close(s);
}

static void messages_and_closes_are_kept(void **state) {
    (void)state;
    struct store *s = opened("messages");
    const int64_t task = open_round(s);
    char text[128] = "";
    bool closed = true, asked = true;
    struct wire_hash hash, want = hash_of(9);
    sotto_Outcome outcome;
    const struct wire_hash terms = hash_of(1);
    for (uint64_t serial = 3; serial <= 9; serial += 2)
        if (serial != 7)
            ASSERT_OK(store_member_group(s, task, 1, serial, 0, 1, &err));
    a_message(s, task, 1, 1, 9, "nine");
    a_message(s, task, 1, 1, 3, "three");
    a_message(s, task, 1, 3, 9, "shares");
    const struct store_message twice = {.serial = 9, .hash = want};
    ASSERT_STATUS(store_message_add(s, task, 1, 0, 1, 3, &twice, &err), SOTTO_EXISTS);
    ASSERT_OK(store_message_each(s, task, 1, 0, 1, 1, collect, text, &err));
    assert_string_equal(text, "3=three 9=nine ");
    ASSERT_OK(store_message_get(s, task, 1, 0, 1, 3, 9, &hash, &err));
    assert_memory_equal(&hash, &want, sizeof hash);
    ASSERT_STATUS(store_message_get(s, task, 1, 0, 1, 3, 3, &hash, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_close_get(s, task, 1, 0, 1, 3, &closed, &err));
    assert_false(closed);
    ASSERT_OK(store_secure_asked(s, task, 1, 9, &asked, &err));
    assert_false(asked); /* the exchange is open yet */
    ASSERT_OK(store_close_add(s, task, 1, 0, 1, 3, 77, &err));
    ASSERT_OK(store_close_add(s, task, 1, 0, 1, 3, 78, &err));
    ASSERT_OK(store_close_get(s, task, 1, 0, 1, 3, &closed, &err));
    assert_true(closed);
    ASSERT_OK(store_secure_asked(s, task, 1, 9, &asked, &err));
    assert_true(asked);
    ASSERT_OK(store_secure_asked(s, task, 1, 3, &asked, &err));
    assert_false(asked); /* it has not shared */
    /* A backup of this moment: who was asked keeps nothing, the others get theirs back. */
    ASSERT_OK(store_after_restore(s, 5, &err));
    ASSERT_OK(store_outcome_get(s, 9, &terms, &outcome, &err));
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_KEPT);
    ASSERT_OK(store_outcome_get(s, 3, &terms, &outcome, &err));
    assert_int_equal(outcome, sotto_Outcome_OUTCOME_RETURNED);
    ASSERT_STATUS(store_message_get(s, task, 1, 0, 1, 3, 9, &hash, &err), SOTTO_NOT_FOUND);
    ASSERT_OK(store_commit(s, &err));
    store_close(s);
}

static void ended_groups_leave_nothing(void **state) {
    (void)state;
    struct store *s = opened("ended");
    const int64_t task = open_round(s);
    struct store_secure g = {.attempt = 1}, *list;
    uint32_t count;
    bool closed = true;
    char text[128] = "";
    a_message(s, task, 1, 9, 3, "share");
    ASSERT_OK(store_close_add(s, task, 1, 0, 1, 9, 1, &err));
    ASSERT_OK(store_secure_set(s, task, 1, &g, &err));
    ASSERT_OK(store_messages_clear(s, task, 1, 0, &err));
    ASSERT_OK(store_message_each(s, task, 1, 0, 1, 9, collect, text, &err));
    assert_string_equal(text, "");
    ASSERT_OK(store_close_get(s, task, 1, 0, 1, 9, &closed, &err));
    assert_false(closed);
    struct store_round r;
    ASSERT_OK(store_round_get(s, task, 1, &r, &err));
    r.state = STORE_ROUND_COMMITTED;
    r.closed_ms = 10;
    ASSERT_OK(store_round_close(s, &r, &err));
    const struct store_keep keep = {.versions = 1, .outcomes_before_ms = 11};
    ASSERT_OK(store_retain(s, &keep, &err));
    ASSERT_OK(store_secure_list(s, task, 1, &list, &count, &err));
    assert_int_equal(count, 0);
    mem_free(list);
    ASSERT_OK(store_commit(s, &err));
    store_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_are_kept),
        cmocka_unit_test(messages_and_closes_are_kept),
        cmocka_unit_test(ended_groups_leave_nothing),
    };
    assert_int_equal(id_setup(&err), SOTTO_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
