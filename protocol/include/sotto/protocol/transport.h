/* ZeroMQ with CURVE both ways: ROUTER with a ZAP handler at the coordinator, DEALER at the device. A message is one control frame
 * and at most one payload frame. One thread per object; no socket crosses threads. */
#ifndef SOTTO_PROTOCOL_TRANSPORT_H
#define SOTTO_PROTOCOL_TRANSPORT_H

#include "sotto/protocol/identity.h"

#define TRANSPORT_PAYLOAD_MAX (300u * 1024u)
#define TRANSPORT_ADDRESS_MAX 256

enum transport_role { TRANSPORT_DEVICE = 1, TRANSPORT_ENROLL = 2 };

/* Who may connect: a set of CURVE keys, shared by all servers of a process, consulted by the ZAP thread. Thread-safe. */
struct transport_gate;
struct transport_gate *transport_gate_new(void) SOTTO_NODISCARD;
void transport_gate_free(struct transport_gate *g);
/* expiry_ms: Unix time, 0 never. Replaces an entry of the same key. */
enum sotto_status transport_gate_allow(struct transport_gate *g, const uint8_t curve_key[ID_KEY],
                                       enum transport_role role, uint64_t serial, int64_t expiry_ms);
void transport_gate_remove(struct transport_gate *g, const uint8_t curve_key[ID_KEY]); /* revocation */
size_t transport_gate_count(struct transport_gate *g);

struct transport_server_config {
    const char *bind;            /* "tcp://0.0.0.0:7700", "tcp://127.0.0.1:*" (any free port) */
    const struct id_curve *keys; /* borrowed during open */
    int io_threads;              /* 1 */
    uint32_t handshake_ms;       /* 10000 */
    uint32_t heartbeat_ms;       /* 30000; 0 off */
    uint32_t peers_max;          /* refuses to start when RLIMIT_NOFILE < peers_max + 64 */
};
#define TRANSPORT_SERVER_INIT {"tcp://127.0.0.1:*", NULL, 1, 10000, 30000, 10000}

struct transport_server;
/* Starts the process's ZAP handler if it is the first, binds (only then), and proves by a connection with a random key that a
 * stranger is refused: DENIED and closed when one is not. */
enum sotto_status transport_server_open(const struct transport_server_config *config,
                                        struct transport_gate *gate, struct transport_server **out,
                                        struct sotto_error *err);
void transport_server_close(struct transport_server *s);
const char *transport_server_address(const struct transport_server *s); /* with the real port */

struct transport_message {
    uint64_t peer; /* handle of the connection, for send; never reused */
    uint64_t serial;
    enum transport_role role;
    uint8_t curve_key[ID_KEY]; /* the ZAP user id, from CURVE */
    struct view control, payload; /* valid until the next recv; payload.p NULL when there is none */
};
/* Takes one message. OK, TIMEOUT (none within timeout_ms; 0 polls), or CORRUPT for one that was dropped (more frames, too
 * large, no user id, key no longer admitted): counted in the stats, go on. */
enum sotto_status transport_server_recv(struct transport_server *s, int timeout_ms,
                                        struct transport_message *out, struct sotto_error *err);
/* Never blocks. UNREACHABLE: the peer is gone; BUSY: its queue is full, the message was not sent. */
enum sotto_status transport_server_send(struct transport_server *s, uint64_t peer,
                                        struct view control, struct view payload,
                                        struct sotto_error *err);
struct transport_stats {
    uint64_t received, sent, dropped, refused, bytes_in, bytes_out, handshakes, accept_failed;
};
void transport_server_stats(struct transport_server *s, struct transport_stats *out);

/* Waits until a server has a message or one of the file descriptors is readable. Bit 0.. of *ready are the servers, then the fds.
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
/* Returns at once; the connection is made in the background. */
enum sotto_status transport_client_open(const struct transport_client_config *config,
                                        struct transport_client **out, struct sotto_error *err);
void transport_client_close(struct transport_client *c);
enum transport_state { TRANSPORT_CONNECTING, TRANSPORT_CONNECTED, TRANSPORT_REFUSED, TRANSPORT_LOST };
/* From the socket's monitor: REFUSED on HANDSHAKE_FAILED_AUTH (libzmq never tries again: close, back off, open). */
enum transport_state transport_client_state(struct transport_client *c);
enum sotto_status transport_client_send(struct transport_client *c, struct view control,
                                        struct view payload, struct sotto_error *err); /* BUSY when full */
enum sotto_status transport_client_recv(struct transport_client *c, int timeout_ms,
                                        struct view *control, struct view *payload,
                                        struct sotto_error *err);

#endif
