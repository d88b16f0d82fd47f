/* What the files of transport share: options, frames, monitors, the gate's look-up, the ZAP
 * handler. */
#ifndef SOTTO_PROTOCOL_TRANSPORT_INT_H
#define SOTTO_PROTOCOL_TRANSPORT_INT_H

#include "sotto/protocol/transport.h"

#include <zmq.h>

/* Draft-only in Debian's zmq.h, but its library obeys the number: without a ZAP handler nobody is
 * let in, instead of everybody. */
#define TRANSPORT_ZAP_ENFORCE_DOMAIN 93
#define TRANSPORT_ZAP_DOMAIN         "sotto"
/* Messages in a queue of one peer: a window of chunks (CHUNK_CREDIT_MAX) and its replies to send, a
 * window to receive. A peer may make us hold this many times the payload's maximum. */
#define TRANSPORT_SEND_HWM 32
#define TRANSPORT_RECV_HWM 16
/* CURVE's own bytes on a frame are counted by MAXMSGSIZE too. */
#define TRANSPORT_FRAME_MAX ((int64_t)TRANSPORT_PAYLOAD_MAX + 64)

/* Socket options; the first failure is kept in status, with the option's number in the text. */
struct options {
    void *socket;
    enum sotto_status status;
    struct sotto_error *err;
};
void options_int(struct options *o, int option, int value);
void options_i64(struct options *o, int option, int64_t value);
void options_bytes(struct options *o, int option, const void *value, size_t n);
/* What both ends set: queues, sizes, heartbeat (0: none), handshake, keepalive, IPv6 when the
 * address needs it. */
void options_common(struct options *o, const char *address, uint32_t handshake_ms,
                    uint32_t heartbeat_ms);

/* A control frame and perhaps a payload, held until the next message. */
struct frames {
    zmq_msg_t control, payload;
    bool has_payload;
};
void frames_init(struct frames *f);
void frames_deinit(struct frames *f);
/* The rest of a message whose control frame is the next part: OK, TIMEOUT when there is none, or
 * CORRUPT (sizes, too many frames): the whole message has been read then. */
enum sotto_status frames_take(struct frames *f, void *socket, struct sotto_error *err);
/* Reads and drops what is left of a message. */
void frames_drain(void *socket, zmq_msg_t *last);
struct view frames_view(zmq_msg_t *m);
/* Sends control and payload without waiting; the socket's queue had room. */
int frames_send(void *socket, struct view control, struct view payload);

/* A PAIR socket that gets the named events of a socket; NULL with err. Backlog is unbounded when
 * keep_all, so that an I/O thread that serves many sockets is never held up by one that nobody
 * looks at. */
void *monitor_open(void *ctx, void *socket, int events, bool keep_all, struct sotto_error *err);
/* The next event, or 0; never waits. */
int monitor_next(void *monitor);

struct gate_entry {
    uint8_t key[ID_KEY];
    uint64_t serial;
    int64_t expiry_ms;
    enum transport_role role; /* 0: an empty slot */
};
/* Whether the key may speak at now_ms; out may be NULL. */
bool transport_gate_find(struct transport_gate *g, const uint8_t key[ID_KEY], int64_t now_ms,
                         struct gate_entry *out);

/* The ZAP handler of a context: a thread that answers for each new connection whether its key is in
 * the gate. */
struct zap;
struct zap *zap_start(void *ctx, struct transport_gate *gate, struct sotto_error *err);
void zap_stop(struct zap *z); /* before the context ends */
bool zap_alive(struct zap *z);
/* Of all keys but the stranger's. */
void zap_counts(struct zap *z, uint64_t *admitted, uint64_t *refused);
/* The key of the self-test, counted apart: devices may connect again while it runs. */
void zap_stranger_set(struct zap *z, const uint8_t key[ID_KEY]);
/* Whether the handler was asked about the stranger's key, and always said no. */
bool zap_stranger_refused(struct zap *z);

/* The context of all clients of the process, counted; NULL when it cannot be made. */
void *client_context_get(void);
void client_context_put(void);

#endif
