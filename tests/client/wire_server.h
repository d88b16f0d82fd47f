/* A scripted coordinator on a real socket, in the test's own thread. */
#ifndef SOTTO_TESTS_WIRE_SERVER_H
#define SOTTO_TESTS_WIRE_SERVER_H

#include "sotto/client/session.h"
#include "support.h"

struct wire_server {
    struct id_keys authority, signer;
    struct id_curve keys;
    struct transport_gate *gate;
    struct transport_server *transport;
    struct id_document document;
    struct buf document_bytes;
    uint64_t serial, peer;

    struct graph graph;
    struct data_schema schema;
    struct buf package, base; /* base: what a delta is made from */
    struct wire_hash package_hash, base_hash;
    sotto_Terms terms;
    struct buf terms_bytes;
    struct wire_hash terms_hash;
    uint8_t round_public[SEAL_PUBLIC], round_secret[SEAL_SECRET];
    bool plan; /* offers the terms */
    uint64_t come_back_ms;

    struct buf report;
    uint64_t report_bytes;
    struct wire_hash report_hash;
    bool stored;
    sotto_Outcome outcome; /* said about every open report */
    uint32_t check_ins, chunks_sent, deltas_sent, enrols, opens, declines, outcomes_asked;
    char rule[48];
    char backend[64]; /* of the last check-in */
    float samples_per_s;
    uint32_t drop_after_chunks; /* closes down after so many package chunks; 0: never */
};

void wire_server_init(struct wire_server *s);
void wire_server_deinit(struct wire_server *s);
void wire_server_token(struct wire_server *s, struct buf *text);
/* Packs weights drawn from seed; the last package becomes the base of deltas. */
void wire_server_package(struct wire_server *s, uint64_t seed);
void wire_server_round(struct wire_server *s, uint32_t round);
/* Answers all that has come in. */
void wire_server_poll(struct wire_server *s);
/* The sealed report opens, decodes and checks; its mean goes into update (layout.total values), its
 * scalars into scalars. */
void wire_server_open_report(struct wire_server *s, float *update, double *scalars);

#endif
