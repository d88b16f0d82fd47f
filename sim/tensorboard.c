/* TFRecord framing (length, masked CRC-32C of both) around tensorflow.Event in protobuf's wire
 * format: event.proto, summary.proto and tensor.proto as far as scalars and texts need them. */
#include "tensorboard.h"

#include <math.h>
#include <string.h>

#include "crc32c.h"

#define RECORD_MAX (1u << 20)

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum event { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum value { VALUE_TAG = 1, VALUE_SIMPLE = 2, VALUE_TENSOR = 8, VALUE_METADATA = 9 };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1 };
enum tensor { TENSOR_DTYPE = 1, TENSOR_SHAPE = 2, TENSOR_STRING = 8 };
enum { DT_STRING = 7 };

static void put_key(struct buf *b, unsigned field, enum wire type) {
    buf_put_varint(b, field << 3 | (unsigned)type);
}

static void put_bytes(struct buf *b, unsigned field, const void *p, size_t n) {
    put_key(b, field, WIRE_BYTES);
    buf_put_varint(b, n);
    if (n > 0)
        buf_put(b, p, n);
}

static uint32_t masked(uint32_t crc) {
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void put_record(struct buf *out, const struct buf *event) {
    uint8_t head[8];
    for (int i = 0; i < 8; i++)
        head[i] = (uint8_t)((uint64_t)event->len >> 8 * i);
    buf_put(out, head, sizeof head);
    buf_put_u32(out, masked(crc32c(head, sizeof head)));
    buf_put(out, event->data, event->len);
    buf_put_u32(out, masked(crc32c(event->data, event->len)));
    if (event->status != SOTTO_OK)
        out->status = event->status;
}

static void begin_event(struct buf *e, double wall_seconds) {
    buf_init(e, RECORD_MAX);
    put_key(e, EVENT_WALL_TIME, WIRE_FIXED64);
    buf_put_f64(e, wall_seconds);
}

void tensorboard_begin(struct buf *out, double wall_seconds) {
    static const char version[] = "brain.Event:2";
    struct buf e;
    begin_event(&e, wall_seconds);
    put_bytes(&e, EVENT_FILE_VERSION, version, sizeof version - 1);
    put_record(out, &e);
    buf_deinit(&e);
}

void tensorboard_step(struct buf *out, double wall_seconds, uint64_t step,
                      const struct tensorboard_scalar *scalars, size_t count) {
    struct buf e, summary, value;
    buf_init(&summary, RECORD_MAX);
    buf_init(&value, RECORD_MAX);
    begin_event(&e, wall_seconds);
    put_key(&e, EVENT_STEP, WIRE_VARINT);
    buf_put_varint(&e, step);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(scalars[i].value))
            continue;
        buf_reset(&value);
        put_bytes(&value, VALUE_TAG, scalars[i].tag, strlen(scalars[i].tag));
        put_key(&value, VALUE_SIMPLE, WIRE_FIXED32);
        buf_put_f32(&value, (float)scalars[i].value);
        put_bytes(&summary, SUMMARY_VALUE, value.data, value.len);
    }
    put_bytes(&e, EVENT_SUMMARY, summary.data, summary.len);
    put_record(out, &e);
    buf_deinit(&e);
    buf_deinit(&summary);
    buf_deinit(&value);
}

void tensorboard_text(struct buf *out, double wall_seconds, const char *tag, const char *text,
                      size_t len) {
    static const char plugin[] = "text";
    struct buf e, summary, value, part, name;
    buf_init(&summary, RECORD_MAX);
    buf_init(&value, RECORD_MAX);
    buf_init(&part, RECORD_MAX);
    buf_init(&name, 64);
    begin_event(&e, wall_seconds);
    put_bytes(&value, VALUE_TAG, tag, strlen(tag));
    put_key(&part, TENSOR_DTYPE, WIRE_VARINT);
    buf_put_varint(&part, DT_STRING);
    put_bytes(&part, TENSOR_SHAPE, NULL, 0); /* a scalar */
    put_bytes(&part, TENSOR_STRING, text, len);
    put_bytes(&value, VALUE_TENSOR, part.data, part.len);
    buf_reset(&part);
    put_bytes(&name, PLUGIN_NAME, plugin, sizeof plugin - 1);
    put_bytes(&part, METADATA_PLUGIN, name.data, name.len);
    put_bytes(&value, VALUE_METADATA, part.data, part.len);
    put_bytes(&summary, SUMMARY_VALUE, value.data, value.len);
    put_bytes(&e, EVENT_SUMMARY, summary.data, summary.len);
    put_record(out, &e);
    buf_deinit(&e);
    buf_deinit(&summary);
    buf_deinit(&value);
    buf_deinit(&part);
    buf_deinit(&name);
}
