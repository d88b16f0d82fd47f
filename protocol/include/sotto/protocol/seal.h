/* Sealed reports: a coded update that only the round key opens, part by part (protocol.md section
 * 4).
 *
 * Report = magic, version, part count, part lengths, content key sealed to the round key
 * (crypto_box_seal), then each part by XChaCha20-Poly1305: nonce = part number, associated data =
 * (terms hash, device serial, part, part count). */
#ifndef SOTTO_PROTOCOL_SEAL_H
#define SOTTO_PROTOCOL_SEAL_H

#include "sotto/protocol/codec.h"
#include "sotto/protocol/wire.h"

#define SEAL_PUBLIC 32u
#define SEAL_SECRET 32u
#define SEAL_KEY    32u

/* X25519 pair of a round. */
void seal_keypair(uint8_t public_key[SEAL_PUBLIC], uint8_t secret_key[SEAL_SECRET]);
/* content_key: fresh random bytes for this sealing, the caller wipes it. out is emptied first. */
enum sotto_status seal_report(const struct codec_update *update,
                              const uint8_t round_key[SEAL_PUBLIC], const struct wire_hash *terms,
                              uint64_t serial, const uint8_t content_key[SEAL_KEY], struct buf *out,
                              struct sotto_error *err);
/* Reads a report's frame (caps, lengths) and opens its content key. report is borrowed until free.
 */
struct seal_opener;
enum sotto_status seal_open(struct view report, const uint8_t round_public[SEAL_PUBLIC],
                            const uint8_t round_secret[SEAL_SECRET], const struct wire_hash *terms,
                            uint64_t serial, uint32_t parts_expected, struct seal_opener **out,
                            struct sotto_error *err);
uint32_t seal_part_count(const struct seal_opener *o);
/* The plain part, valid until the next call; CORRUPT when it does not authenticate. */
enum sotto_status seal_open_part(struct seal_opener *o, uint32_t part, struct view *out,
                                 struct sotto_error *err);
void seal_opener_free(struct seal_opener *o); /* wipes */

#endif
