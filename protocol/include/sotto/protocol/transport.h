/* ZeroMQ with CURVE both ways: ROUTER with a ZAP handler at the coordinator, DEALER at the device.
 * A message is one control frame and at most one payload frame. One thread per object; no socket
 * crosses threads. */
#ifndef SOTTO_PROTOCOL_TRANSPORT_H
#define SOTTO_PROTOCOL_TRANSPORT_H

#include "sotto/protocol/identity.h"

#define TRANSPORT_PAYLOAD_MAX 307200u /* 300 KiB: a chunk and its frame, or a document */
#define TRANSPORT_ADDRESS_MAX 256

enum transport_role { TRANSPORT_DEVICE = 1, TRANSPORT_ENROLL = 2 };

/* Who may connect: a set of CURVE keys, shared by all servers of a process, consulted by their ZAP
 * threads. Thread-safe; outlives the servers. */
struct transport_gate;
struct transport_gate *transport_gate_new(void) SOTTO_NODISCARD;
void transport_gate_free(struct transport_gate *g);
/* expiry_ms: Unix time, 0 never. Replaces an entry of the same key. INVALID (role), LIMIT (2^24
 * slots), NOMEM. */
enum sotto_status transport_gate_allow(struct transport_gate *g, const uint8_t curve_key[ID_KEY],
                                       enum transport_role role, uint64_t serial,
                                       int64_t expiry_ms);
void transport_gate_remove(struct transport_gate *g,
                           const uint8_t curve_key[ID_KEY]); /* revocation */
size_t transport_gate_count(struct transport_gate *g);

struct transport_server_config {
    const char *bind;            /* "tcp://0.0.0.0:7700", "tcp://127.0.0.1:*" (any free port) */
    const struct id_curve *keys; /* borrowed during open */
    int io_threads;              /* 1 */
    uint32_t handshake_ms;       /* 10000 */
    uint32_t heartbeat_ms;       /* 30000; 0 off */
    uint32_t peers_max; /* raises the soft RLIMIT_NOFILE to peers_max + 64, or refuses to start */
};
#define TRANSPORT_SERVER_INIT                                                                      \
    { "tcp://127.0.0.1:*", NULL, 1, 10000, 30000, 10000 }

struct transport_server;
/* Starts a libzmq context with its ZAP handler's thread, binds (only then), and proves by a
 * connection with a random key that a stranger is refused: DENIED and closed when one is not,
 * within 10 s. INVALID, LIMIT (descriptors), BUSY (the port is taken). Close waits until the port
 * is free again. */
enum sotto_status transport_server_open(const struct transport_server_config *config,
                                        struct transport_gate *gate, struct transport_server **out,
                                        struct sotto_error *err);
void transport_server_close(struct transport_server *s);
const char *transport_server_address(const struct transport_server *s); /* with the real port */

struct transport_message {
    uint64_t peer; /* handle of the connection, for send: libzmq's own 32-bit counter under the
                      server's number */
    uint64_t serial;
    enum transport_role role;
    uint8_t curve_key[ID_KEY];    /* the ZAP user id, from CURVE */
    struct view control, payload; /* valid until the next recv; payload.p NULL when there is none */
};
/* Takes one message. OK, TIMEOUT (none within timeout_ms; 0 polls), or CORRUPT for one that was
 * dropped (more frames, too large, no user id, key no longer admitted, a routing id of its own
 * choice): counted in the stats, go on. INTERNAL when the ZAP handler has died (nobody new gets in
 * then): end the program. A signal ends the wait as TIMEOUT. */
enum sotto_status transport_server_recv(struct transport_server *s, int timeout_ms,
                                        struct transport_message *out, struct sotto_error *err);
/* Never blocks. UNREACHABLE: the peer is gone; BUSY: its queue is full, the message was not sent.
 * INVALID: frames too large. payload.p NULL: no second frame. */
enum sotto_status transport_server_send(struct transport_server *s, uint64_t peer,
                                        struct view control, struct view payload,
                                        struct sotto_error *err);
/* dropped: messages; refused: connections by the ZAP handler; handshakes: those it let in. The
 * self-test's are not counted. */
struct transport_stats {
    uint64_t received, sent, dropped, refused, bytes_in, bytes_out, handshakes, accept_failed;
};
void transport_server_stats(struct transport_server *s, struct transport_stats *out);

/* Waits until a server has a message or one of the file descriptors is readable. Bit 0.. of *ready
 * are the servers, then the fds: at most 64 in all. TIMEOUT when nothing is, also after a signal.
 * This hides libzmq's edge-triggered descriptors. */
enum sotto_status transport_wait(struct transport_server *const *servers, size_t server_count,
                                 const int *fds, size_t fd_count, int timeout_ms, uint64_t *ready,
                                 struct sotto_error *err);

struct transport_client_config {
    const char *address;
    const uint8_t *server_key;   /* ID_KEY bytes */
    const struct id_curve *keys; /* borrowed during open */
};
struct transport_client;
/* Returns at once; the connection is made in the background, and again whenever it breaks (after
 * 250 ms to 30 s, with jitter). Close lets what was sent leave for up to 500 ms. At most 4,096
 * clients in one process. */
enum sotto_status transport_client_open(const struct transport_client_config *config,
                                        struct transport_client **out, struct sotto_error *err);
void transport_client_close(struct transport_client *c);
enum transport_state {
    TRANSPORT_CONNECTING,
    TRANSPORT_CONNECTED,
    TRANSPORT_REFUSED,
    TRANSPORT_LOST
};
/* From the socket's monitor: REFUSED on HANDSHAKE_FAILED_AUTH (libzmq never tries again: close,
 * back off, open). */
enum transport_state transport_client_state(struct transport_client *c);
/* Never blocks. BUSY when the queue is full, UNREACHABLE when there is no connection now, DENIED
 * after a refusal. What was sent may still be lost with the connection: the protocol asks again. */
enum sotto_status transport_client_send(struct transport_client *c, struct view control,
                                        struct view payload, struct sotto_error *err);
/* Views are valid until the next recv. TIMEOUT; UNREACHABLE once when the connection breaks during
 * or before the wait (go on waiting: it is made again); DENIED after a refusal; CORRUPT for a
 * message that was dropped. */
enum sotto_status transport_client_recv(struct transport_client *c, int timeout_ms,
                                        struct view *control, struct view *payload,
                                        struct sotto_error *err);

#endif
