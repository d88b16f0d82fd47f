/* Envelope and terms from any bytes: what decodes keeps the rules, and encodes and decodes again to
 * the same. */
#include "sotto/protocol/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    if (size == 0)
        return 0;
    const struct view v = view_of(data + 1, size - 1);
    struct buf b;
    buf_init(&b, WIRE_CONTROL_MAX);
    if ((data[0] & 1) != 0) {
        sotto_Envelope m, again;
        const enum sotto_status s = wire_decode(v, &m, &err);
        require(s == SOTTO_OK || s == SOTTO_CORRUPT || s == SOTTO_VERSION);
        if (s == SOTTO_OK) {
            require(wire_encode(&m, &b, &err) == SOTTO_OK);
            require(wire_decode(buf_view(&b), &again, &err) == SOTTO_OK);
            require(strcmp(wire_name(&m), wire_name(&again)) == 0);
        }
    } else {
        sotto_Terms t, again;
        const enum sotto_status s = wire_terms_decode(v, &t, &err);
        require(s == SOTTO_OK || s == SOTTO_CORRUPT);
        if (s == SOTTO_OK) {
            require(t.weight_max >= 1 && t.n_max >= 1 && t.package_hash.size == WIRE_HASH);
            require(!t.has_rule || (t.rule.lr > 0 && t.rule.epochs >= 1));
            require(wire_terms_encode(&t, &b, &err) == SOTTO_OK);
            require(wire_terms_decode(buf_view(&b), &again, &err) == SOTTO_OK);
            require(strcmp(t.task, again.task) == 0 && t.round == again.round);
        }
    }
    buf_deinit(&b);
    return 0;
}
