/* Control frames: one Envelope each, encoded and decoded by nanopb into static structs. */
#include "wire/check.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

_Static_assert(sotto_Envelope_size <= WIRE_CONTROL_MAX, "every message fits a control frame");

const char *wire_name(const sotto_Envelope *message) {
    static const struct {
        pb_size_t tag;
        const char *name;
    } names[] = {
        {sotto_Envelope_enroll_tag, "enroll"},
        {sotto_Envelope_enroll_reply_tag, "enroll_reply"},
        {sotto_Envelope_check_in_tag, "check_in"},
        {sotto_Envelope_check_in_reply_tag, "check_in_reply"},
        {sotto_Envelope_get_package_tag, "get_package"},
        {sotto_Envelope_package_chunk_tag, "package_chunk"},
        {sotto_Envelope_report_open_tag, "report_open"},
        {sotto_Envelope_report_grant_tag, "report_grant"},
        {sotto_Envelope_report_chunk_tag, "report_chunk"},
        {sotto_Envelope_report_ack_tag, "report_ack"},
        {sotto_Envelope_heartbeat_tag, "heartbeat"},
        {sotto_Envelope_heartbeat_reply_tag, "heartbeat_reply"},
        {sotto_Envelope_decline_tag, "decline"},
        {sotto_Envelope_decline_reply_tag, "decline_reply"},
        {sotto_Envelope_error_tag, "error"},
        {sotto_Envelope_secure_ready_tag, "secure_ready"},
        {sotto_Envelope_secure_state_tag, "secure_state"},
        {sotto_Envelope_secure_get_tag, "secure_get"},
        {sotto_Envelope_secure_chunk_tag, "secure_chunk"},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].tag == message->which_body)
            return names[i].name;
    return "none";
}

enum sotto_status wire_encode(const sotto_Envelope *message, struct buf *out,
                              struct sotto_error *err) {
    uint8_t bytes[sotto_Envelope_size];
    struct check c = {wire_name(message), SOTTO_OK, SOTTO_INTERNAL, err};
    check_envelope(&c, message);
    if (c.status != SOTTO_OK)
        return c.status;
    sotto_Envelope copy = *message;
    copy.version = WIRE_VERSION;
    pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof bytes);
    if (!pb_encode(&stream, sotto_Envelope_fields, &copy))
        return SOTTO_FAIL(err, SOTTO_INTERNAL, "cannot encode message %s: %s", wire_name(message),
                          PB_GET_ERROR(&stream));
    buf_reset(out);
    buf_put(out, bytes, stream.bytes_written);
    if (out->status != SOTTO_OK)
        return SOTTO_FAIL(err, out->status, "cannot keep the %zu bytes of message %s",
                          stream.bytes_written, wire_name(message));
    return SOTTO_OK;
}

/* Reads the version alone: the rest may have a form that only the other version knows. */
static bool read_version(struct view frame, uint32_t *version) {
    pb_istream_t stream = pb_istream_from_buffer(frame.p, frame.n);
    *version = 0;
    for (;;) {
        pb_wire_type_t type;
        uint32_t tag;
        bool eof;
        if (!pb_decode_tag(&stream, &type, &tag, &eof))
            return eof;
        if (tag == sotto_Envelope_version_tag && type == PB_WT_VARINT) {
            if (!pb_decode_varint32(&stream, version))
                return false;
        } else if (!pb_skip_field(&stream, type)) {
            return false;
        }
    }
}

enum sotto_status wire_decode(struct view frame, sotto_Envelope *out, struct sotto_error *err) {
    memset(out, 0, sizeof *out);
    if (frame.n == 0 || frame.n > WIRE_CONTROL_MAX)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "control frame has %zu bytes instead of 1..%u",
                          frame.n, WIRE_CONTROL_MAX);
    uint32_t version;
    if (!read_version(frame, &version))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "control frame is not a message");
    if (version != WIRE_VERSION)
        return SOTTO_FAIL(err, SOTTO_VERSION,
                          "message has protocol version %u, this program speaks %u", version,
                          WIRE_VERSION);
    pb_istream_t stream = pb_istream_from_buffer(frame.p, frame.n);
    if (!pb_decode(&stream, sotto_Envelope_fields, out))
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "control frame does not decode: %s",
                          PB_GET_ERROR(&stream));
    struct check c = {wire_name(out), SOTTO_OK, SOTTO_CORRUPT, err};
    check_envelope(&c, out);
    return c.status;
}
