/* Event files read back by a second reader: its own checksum, bit by bit, and its own protobuf. */
#include <math.h>
#include <string.h>

#include "support.h"
#include "tensorboard.h"

static uint32_t crc_bitwise(const uint8_t *p, size_t n) {
    uint32_t c = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
    }
    c = ~c;
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

/* The next record's content. */
static struct view next_record(struct reader *r) {
    const uint8_t *head = r->p + r->off;
    const uint64_t n = reader_u64(r, "length");
    assert_int_equal(reader_u32(r, "crc of length"), crc_bitwise(head, 8));
    const struct view v = reader_bytes(r, (size_t)n, "event");
    assert_int_equal(reader_u32(r, "crc of event"), crc_bitwise(v.p, v.n));
    assert_int_equal(r->status, SOTTO_OK);
    return v;
}

/* The wanted field's bytes, or the bits of a number. */
static struct view field_bytes(struct view message, unsigned want, unsigned nth, uint64_t *number) {
    struct reader r;
    reader_init(&r, message);
    while (reader_left(&r) > 0) {
        const uint64_t key = reader_varint(&r, UINT64_MAX, "key");
        struct view v = {NULL, 0};
        uint64_t bits = 0;
        switch (key & 7) {
        case 0:
            bits = reader_varint(&r, UINT64_MAX, "varint");
            break;
        case 1:
            bits = reader_u64(&r, "fixed64");
            break;
        case 2:
            v = reader_bytes(&r, (size_t)reader_varint(&r, message.n, "size"), "bytes");
            break;
        default:
            assert_int_equal(key & 7, 5);
            bits = reader_u32(&r, "fixed32");
        }
        assert_int_equal(r.status, SOTTO_OK);
        if (key >> 3 == want && nth-- == 0) {
            if (number)
                *number = bits;
            return v;
        }
    }
    return view_of(NULL, 0);
}

static void assert_text(struct view v, const char *want) {
    assert_int_equal(v.n, strlen(want));
    assert_memory_equal(v.p, want, v.n);
}

static void test_events(void **state) {
    (void)state;
    const struct tensorboard_scalar scalars[] = {{"a/b", 0.25}, {"gone", NAN}, {"c", -3}};
    struct buf out;
    struct reader r;
    uint64_t bits = 0;
    float value;
    double wall;
    buf_init(&out, 1 << 20);
    tensorboard_begin(&out, 1.5);
    tensorboard_step(&out, 2.5, 300, scalars, ARRAY_LEN(scalars));
    tensorboard_text(&out, 3.5, "config", "seed: 1\n", 8);
    reader_init(&r, buf_view(&out));
    struct view e = next_record(&r);
    assert_text(field_bytes(e, 3, 0, NULL), "brain.Event:2");
    (void)field_bytes(e, 1, 0, &bits);
    memcpy(&wall, &bits, sizeof wall);
    assert_true(wall == 1.5);
    e = next_record(&r);
    (void)field_bytes(e, 2, 0, &bits);
    assert_int_equal(bits, 300);
    const struct view summary = field_bytes(e, 5, 0, NULL);
    struct view v = field_bytes(summary, 1, 0, NULL);
    assert_text(field_bytes(v, 1, 0, NULL), "a/b");
    (void)field_bytes(v, 2, 0, &bits);
    memcpy(&value, &bits, sizeof value);
    assert_true(value == 0.25f);
    v = field_bytes(summary, 1, 1, NULL);
    assert_text(field_bytes(v, 1, 0, NULL), "c");
    assert_int_equal(field_bytes(summary, 1, 2, NULL).n, 0);
    e = next_record(&r);
    v = field_bytes(field_bytes(e, 5, 0, NULL), 1, 0, NULL);
    assert_text(field_bytes(v, 1, 0, NULL), "config");
    assert_text(field_bytes(field_bytes(v, 8, 0, NULL), 8, 0, NULL), "seed: 1\n");
    assert_text(field_bytes(field_bytes(field_bytes(v, 9, 0, NULL), 1, 0, NULL), 1, 0, NULL),
                "text");
    assert_int_equal(reader_left(&r), 0);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
