/* The journal: records, written by a run and read by the one that goes on with it. */
#include "journal.h"

#include <math.h>
#include <string.h>

#include "sim.h"

enum record { RECORD_TRAINED = 1, RECORD_CHECKED, RECORD_DELTA, RECORD_ROUND };
enum { FLAG_EVALUATION = 1, FLAG_FAILED = 2, FLAG_PUBLISHED = 4, FLAG_DISTILLED = 8 };

#define NUMBERS 12
#define COUNTS  9
/* A round's record. */
struct note {
    uint64_t round;
    uint8_t flags;
    char reason[160];
    uint64_t number[NUMBERS]; /* doubles as bits: any may be no number */
    uint64_t count[COUNTS];
    struct wire_hash digest, package_hash;
    uint64_t package_bytes;
};

static uint64_t bits_of(double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static double value_of(uint64_t u) {
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static void put_note(struct buf *b, const struct note *n) {
    buf_put_u8(b, RECORD_ROUND);
    buf_put_varint(b, n->round);
    buf_put_u8(b, n->flags);
    buf_put_str(b, n->reason);
    for (int i = 0; i < NUMBERS; i++)
        buf_put_u64(b, n->number[i]);
    for (int i = 0; i < COUNTS; i++)
        buf_put_varint(b, n->count[i]);
    if (!(n->flags & FLAG_PUBLISHED))
        return;
    buf_put(b, n->digest.b, WIRE_HASH);
    buf_put(b, n->package_hash.b, WIRE_HASH);
    buf_put_varint(b, n->package_bytes);
}

static void get_hash(struct reader *r, struct wire_hash *out, const char *field) {
    const struct view v = reader_bytes(r, WIRE_HASH, field);
    if (v.p)
        memcpy(out->b, v.p, WIRE_HASH);
}

/* After its record byte. */
static void get_note(struct reader *r, struct note *n) {
    memset(n, 0, sizeof *n);
    n->round = reader_varint(r, UINT32_MAX, "round");
    n->flags = reader_u8(r, "flags");
    reader_str(r, n->reason, sizeof n->reason, "reason");
    for (int i = 0; i < NUMBERS; i++)
        n->number[i] = reader_u64(r, "number");
    for (int i = 0; i < COUNTS; i++)
        n->count[i] = reader_varint(r, UINT64_MAX, "count");
    if (!(n->flags & FLAG_PUBLISHED))
        return;
    get_hash(r, &n->digest, "digest");
    get_hash(r, &n->package_hash, "package hash");
    n->package_bytes = reader_varint(r, PACKAGE_BYTES_MAX, "package size");
}

/* What the virtual world alone decides: the two runs must agree on it. */
static void counts_of(const struct sim_round_result *r, uint64_t out[COUNTS]) {
    const uint64_t counts[COUNTS] = {r->members,  r->counted, r->returned, r->rejected,
                                     r->declined, r->dropped, r->bytes_up, r->bytes_down};
    memcpy(out, counts, sizeof counts);
}

void journal_round(struct sim *s) {
    const struct sim_round_result *r = &s->round;
    if (s->journal.mode != SIM_JOURNAL_WRITE)
        return;
    const double numbers[NUMBERS] = {r->test_accuracy, r->test_loss,      r->train_accuracy,
                                     r->train_loss,    r->distill_gain,   r->train_seconds,
                                     r->eval_seconds,  r->server_seconds, r->wall_seconds,
                                     s->best_loss,     s->best_accuracy,  r->virtual_seconds};
    struct note n = {.round = r->round};
    n.flags = (uint8_t)((r->evaluation ? FLAG_EVALUATION : 0) | (r->failed ? FLAG_FAILED : 0) |
                        (r->published ? FLAG_PUBLISHED : 0) | (r->distilled ? FLAG_DISTILLED : 0));
    memcpy(n.reason, r->reason, sizeof n.reason);
    for (int i = 0; i < NUMBERS; i++)
        n.number[i] = bits_of(numbers[i]);
    counts_of(r, n.count);
    n.count[COUNTS - 1] = r->train_samples;
    n.digest = s->version->digest;
    n.package_hash = s->version->package->hash;
    n.package_bytes = s->version->package->size;
    put_note(&s->journal.bytes, &n);
}

static enum sotto_status another_way(const struct sim *s, struct sotto_error *err) {
    return SOTTO_FAIL(err, SOTTO_CORRUPT,
                      "round %u went another way than its checkpoint says (byte %zu of its "
                      "journal); start the run anew, without --resume",
                      s->round.round, s->journal.in.off);
}

enum sotto_status journal_round_again(struct sim *s, struct sotto_error *err) {
    struct sim_round_result *r = &s->round;
    struct reader *in = &s->journal.in;
    uint64_t counts[COUNTS];
    struct note n;
    if (reader_u8(in, "record") != RECORD_ROUND)
        return another_way(s, err);
    get_note(in, &n);
    counts_of(r, counts);
    counts[COUNTS - 1] = n.count[COUNTS - 1];
    const bool failed = (n.flags & FLAG_FAILED) != 0;
    if (in->status != SOTTO_OK || n.round != r->round || failed != r->failed ||
        r->evaluation != ((n.flags & FLAG_EVALUATION) != 0) ||
        memcmp(counts, n.count, sizeof counts) != 0)
        return another_way(s, err);
    double *const numbers[NUMBERS] = {&r->test_accuracy, &r->test_loss,      &r->train_accuracy,
                                      &r->train_loss,    &r->distill_gain,   &r->train_seconds,
                                      &r->eval_seconds,  &r->server_seconds, &r->wall_seconds,
                                      &s->best_loss,     &s->best_accuracy,  &r->virtual_seconds};
    for (int i = 0; i < NUMBERS; i++)
        *numbers[i] = value_of(n.number[i]);
    memcpy(r->reason, n.reason, sizeof r->reason);
    r->train_samples = n.count[COUNTS - 1];
    r->distilled = (n.flags & FLAG_DISTILLED) != 0;
    r->published = (n.flags & FLAG_PUBLISHED) != 0;
    return r->published ? sim_version_noted(s, &n.digest, &n.package_hash, n.package_bytes, err)
                        : SOTTO_OK;
}

/* ---- Jobs */

static void write_job(struct buf *b, const struct sim_job *j) {
    if (j->kind == SIM_DELTA) {
        buf_put_u8(b, RECORD_DELTA);
        buf_put_varint(b, j->delta_bytes);
        return;
    }
    buf_put_u8(b, j->kind == SIM_TRAIN ? RECORD_TRAINED : RECORD_CHECKED);
    buf_put_varint(b, j->device);
    buf_put_u8(b, (uint8_t)j->status);
    if (j->status != SOTTO_OK)
        buf_put_str(b, j->error.message);
    else if (j->kind == SIM_TRAIN)
        buf_put_varint(b, j->report_bytes);
}

/* After its record byte. */
static void read_job(struct reader *in, uint8_t record, struct sim_job *j, uint64_t *device) {
    if (record == RECORD_DELTA) {
        j->delta_bytes = reader_varint(in, PACKAGE_BYTES_MAX, "delta size");
        return;
    }
    *device = reader_varint(in, UINT32_MAX, "client");
    j->status = (enum sotto_status)reader_u8(in, "status");
    if (j->status != SOTTO_OK)
        reader_str(in, j->error.message, sizeof j->error.message, "message");
    else if (record == RECORD_TRAINED)
        j->report_bytes = reader_varint(in, WIRE_BLOB_MAX, "report size");
}

enum sotto_status journal_job(struct sim *s, struct sim_job *j, struct sotto_error *err) {
    static const uint8_t records[] = {
        [SIM_TRAIN] = RECORD_TRAINED, [SIM_ADD] = RECORD_CHECKED, [SIM_DELTA] = RECORD_DELTA};
    uint64_t device = j->device;
    if (s->journal.mode == SIM_JOURNAL_WRITE)
        write_job(&s->journal.bytes, j);
    if (!journal_reads(&s->journal))
        return SOTTO_OK;
    if (reader_u8(&s->journal.in, "record") != records[j->kind])
        return another_way(s, err);
    read_job(&s->journal.in, records[j->kind], j, &device);
    j->error.status = j->status;
    return s->journal.in.status == SOTTO_OK && device == j->device ? SOTTO_OK : another_way(s, err);
}

enum sotto_status journal_check(struct view bytes, uint32_t *rounds, struct sotto_error *err) {
    struct reader in;
    uint8_t record = RECORD_ROUND;
    reader_init(&in, bytes);
    *rounds = 0;
    while (in.status == SOTTO_OK && reader_left(&in) > 0) {
        record = reader_u8(&in, "record");
        if (record == RECORD_ROUND) {
            struct note n;
            get_note(&in, &n);
            ++*rounds;
        } else if (record >= RECORD_TRAINED && record <= RECORD_DELTA) {
            struct sim_job j;
            uint64_t device;
            memset(&j, 0, sizeof j);
            read_job(&in, record, &j, &device);
        } else {
            reader_fail(&in, SOTTO_CORRUPT, "record");
        }
    }
    if (in.status == SOTTO_OK && record != RECORD_ROUND)
        reader_fail(&in, SOTTO_CORRUPT, "last record");
    return reader_finish(&in, true, "checkpoint: journal", err);
}
