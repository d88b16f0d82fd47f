/* sottoctl secagg parameters: what a secure group of a size would run, and what it would cost. */
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#include "sotto/secagg.h"

#define DIMENSION_DEFAULT 1000000
#define RING_DEFAULT      16

static enum sotto_status adversary(const char *text, enum secagg_adversary *out,
                                   struct sotto_error *err) {
    if (strcmp(text, "curious") == 0)
        *out = SECAGG_CURIOUS;
    else if (strcmp(text, "semi-malicious") == 0)
        *out = SECAGG_SEMI_MALICIOUS;
    else
        return SOTTO_FAIL(err, SOTTO_USAGE, "--adversary '%s': allowed: curious or semi-malicious",
                          text);
    return SOTTO_OK;
}

static enum sotto_status question(struct cli *cli, struct secagg_question *q,
                                  struct sotto_error *err) {
    enum sotto_status status;
    uint64_t clients, ring = RING_DEFAULT;
    memset(q, 0, sizeof *q);
    q->dimension = DIMENSION_DEFAULT;
    q->adversary = SECAGG_CURIOUS;
    if (!cli_flag(cli, "clients"))
        TRY_FAIL(err, SOTTO_USAGE, "--clients N is needed");
    TRY(num_parse_u64(cli_flag(cli, "clients"), 1, 1000000, &clients, err));
    q->clients = (uint32_t)clients;
    if (cli_flag(cli, "adversarial"))
        TRY(num_parse_f64(cli_flag(cli, "adversarial"), 0, 1, &q->adversarial, err));
    if (cli_flag(cli, "dropout"))
        TRY(num_parse_f64(cli_flag(cli, "dropout"), 0, 1, &q->dropout, err));
    if (cli_flag(cli, "adversary"))
        TRY(adversary(cli_flag(cli, "adversary"), &q->adversary, err));
    if (cli_flag(cli, "dimension"))
        TRY(num_parse_u64(cli_flag(cli, "dimension"), 1, SECAGG_LENGTH_MAX, &q->dimension, err));
    if (cli_flag(cli, "ring"))
        TRY(num_parse_u64(cli_flag(cli, "ring"), 16, 32, &ring, err));
    q->ring_bits = (unsigned)ring;
    if (!secagg_ring_valid(q->ring_bits))
        TRY_FAIL(err, SOTTO_USAGE, "--ring %u: allowed: 16, 20, 24 or 32", q->ring_bits);
out:
    return status;
}

int ctl_secagg_parameters(struct cli *cli) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct secagg_question q;
    struct secagg_answer a;
    struct buf out;
    enum sotto_status status;
    buf_init(&out, 1u << 20);
    TRY(question(cli, &q, &err));
    TRY(secagg_parameters_answer(&q, &a, &err));
    secagg_parameters_describe(&q, &a, cli_json(cli), &out);
    fwrite(out.data, 1, out.len, stdout);
out:
    buf_deinit(&out);
    return ctl_end(cli, status, &err);
}
