/* The graph oracle: plain loops in double over the definitions in graph.h, no program and no
 * kernel. */
#include "oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph_int.h"

static double *values(size_t n) {
    double *p = mem_array(n, sizeof *p);
    if (!p)
        abort();
    return p;
}

static double act(const struct graph_node *n, double v) {
    switch (n->act) {
    case KERN_ACT_RELU:
        return v > 0 ? v : 0;
    case KERN_ACT_LEAKY_RELU:
        return v > 0 ? v : (double)n->slope * v;
    case KERN_ACT_SIGMOID:
        return 1 / (1 + exp(-v));
    case KERN_ACT_TANH:
        return tanh(v);
    case KERN_ACT_NONE:
        break;
    }
    return v;
}

static uint32_t pad(const struct graph_node *n, uint32_t in, uint32_t out, uint32_t k, uint32_t s) {
    int64_t total = (int64_t)(out - 1) * s + k - in;
    return n->padding == GRAPH_SAME && total > 0 ? (uint32_t)(total / 2) : 0;
}

static void dense(const struct graph *g, const struct graph_node *n, const double *p,
                  const double *x, double *y) {
    const double *w = p + g->layout.segments[n->weight_segment].offset;
    uint32_t features = g->layout.segments[n->weight_segment].dims[0];
    for (uint32_t u = 0; u < n->units; u++) {
        y[u] = n->bias ? p[g->layout.segments[n->bias_segment].offset + u] : 0;
        for (uint32_t f = 0; f < features; f++)
            y[u] += x[f] * w[f * n->units + u];
    }
}

static double conv_at(const struct graph *g, const struct graph_node *n, const double *p,
                      const double *x, uint32_t oy, uint32_t ox, uint32_t oc) {
    const struct graph_node *in = &g->nodes[n->inputs[0]];
    const double *w = p + g->layout.segments[n->weight_segment].offset;
    uint32_t ih = in->dims[0], iw = in->dims[1], ic = in->dims[2], per = ic / n->groups;
    uint32_t group = oc / (n->units / n->groups);
    int64_t y0 = (int64_t)oy * n->stride_h - pad(n, ih, n->dims[0], n->kernel_h, n->stride_h);
    int64_t x0 = (int64_t)ox * n->stride_w - pad(n, iw, n->dims[1], n->kernel_w, n->stride_w);
    double sum = n->bias ? p[g->layout.segments[n->bias_segment].offset + oc] : 0;
    for (uint32_t ky = 0; ky < n->kernel_h; ky++)
        for (uint32_t kx = 0; kx < n->kernel_w; kx++) {
            int64_t yy = y0 + ky, xx = x0 + kx;
            if (yy < 0 || xx < 0 || yy >= ih || xx >= iw)
                continue;
            for (uint32_t c = 0; c < per; c++)
                sum += x[((uint64_t)yy * iw + (uint64_t)xx) * ic + group * per + c] *
                       w[((ky * n->kernel_w + kx) * per + c) * n->units + oc];
        }
    return sum;
}

static double pool_at(const struct graph *g, const struct graph_node *n, const double *x,
                      uint32_t oy, uint32_t ox, uint32_t c) {
    const struct graph_node *in = &g->nodes[n->inputs[0]];
    uint32_t ih = in->dims[0], iw = in->dims[1], ic = in->dims[2], covered = 0;
    int64_t y0 = (int64_t)oy * n->stride_h - pad(n, ih, n->dims[0], n->kernel_h, n->stride_h);
    int64_t x0 = (int64_t)ox * n->stride_w - pad(n, iw, n->dims[1], n->kernel_w, n->stride_w);
    double sum = 0, best = -HUGE_VAL;
    for (uint32_t ky = 0; ky < n->kernel_h; ky++)
        for (uint32_t kx = 0; kx < n->kernel_w; kx++) {
            int64_t yy = y0 + ky, xx = x0 + kx;
            if (yy < 0 || xx < 0 || yy >= ih || xx >= iw)
                continue;
            double v = x[((uint64_t)yy * iw + (uint64_t)xx) * ic + c];
            sum += v;
            covered++;
            best = v > best ? v : best;
        }
    return n->op == GRAPH_MAXPOOL ? best : sum / covered;
}

static bool kept(const struct oracle_batch *b, uint32_t stream, uint32_t i, float rate) {
    uint32_t ctr[4] = {i / 4, stream, b->index, 0};
    uint32_t key[2] = {(uint32_t)b->seed, (uint32_t)(b->seed >> 32)}, out[4];
    rng_philox4x32(ctr, key, out);
    return (double)out[i % 4] >= floor((double)rate * 4294967296.0);
}

static void image(const struct graph *g, const struct graph_node *n, const double *p,
                  const double *x, double *y) {
    for (uint32_t oy = 0; oy < n->dims[0]; oy++)
        for (uint32_t ox = 0; ox < n->dims[1]; ox++)
            for (uint32_t c = 0; c < n->dims[2]; c++)
                y[(oy * n->dims[1] + ox) * n->dims[2] + c] = n->op == GRAPH_CONV2D
                                                                 ? conv_at(g, n, p, x, oy, ox, c)
                                                                 : pool_at(g, n, x, oy, ox, c);
}

static void globalpool(const struct graph_node *in, const double *x, double *y) {
    uint32_t places = in->dims[0] * in->dims[1], channels = in->dims[2];
    for (uint32_t c = 0; c < channels; c++) {
        y[c] = 0;
        for (uint32_t i = 0; i < places; i++)
            y[c] += x[i * channels + c] / places;
    }
}

static void node_forward(const struct graph *g, uint32_t i, const double *p,
                         const struct oracle_batch *b, uint32_t row, double **v) {
    const struct graph_node *n = &g->nodes[i];
    uint32_t count = graph_node_count(n);
    const double *x = v[n->inputs[0]];
    double *y = v[i];
    switch (n->op) {
    case GRAPH_INPUT:
        for (uint32_t k = 0; k < count; k++)
            y[k] = (double)b->x[row * count + k];
        return;
    case GRAPH_DENSE:
        dense(g, n, p, x, y);
        return;
    case GRAPH_CONV2D:
    case GRAPH_MAXPOOL:
    case GRAPH_AVGPOOL:
        image(g, n, p, x, y);
        return;
    case GRAPH_GLOBALPOOL:
        globalpool(&g->nodes[n->inputs[0]], x, y);
        return;
    case GRAPH_ACT:
    case GRAPH_FLATTEN:
    case GRAPH_RESHAPE:
        for (uint32_t k = 0; k < count; k++)
            y[k] = n->op == GRAPH_ACT ? act(n, x[k]) : x[k];
        return;
    case GRAPH_ADD:
        for (uint32_t k = 0; k < count; k++)
            y[k] = x[k] + v[n->inputs[1]][k];
        return;
    case GRAPH_DROPOUT:
        for (uint32_t k = 0; k < count; k++)
            y[k] = !b->dropout                            ? x[k]
                   : kept(b, i, row * count + k, n->rate) ? x[k] / (1 - (double)n->rate)
                                                          : 0;
        return;
    }
}

/* Cross-entropy of one row against its (smoothed or soft) target, times T^2 for soft targets. */
static double row_loss(const double *z, uint32_t classes, const struct oracle_batch *b,
                       uint32_t row) {
    double t = b->labels ? 1 : b->temperature, top = -HUGE_VAL, sum = 0, loss = 0;
    for (uint32_t k = 0; k < classes; k++)
        top = z[k] / t > top ? z[k] / t : top;
    for (uint32_t k = 0; k < classes; k++)
        sum += exp(z[k] / t - top);
    for (uint32_t k = 0; k < classes; k++) {
        double want = b->labels ? b->smoothing / classes : b->targets[row * classes + k];
        if (b->labels && (uint32_t)b->labels[row] == k)
            want += 1 - b->smoothing;
        loss -= want * (z[k] / t - top - log(sum));
    }
    return loss * t * t;
}

double oracle_loss(const struct graph *g, const double *params, const struct oracle_batch *b,
                   double *logits) {
    double *v[GRAPH_NODES_MAX];
    double loss = 0;
    uint32_t valid = 0, classes = graph_classes(g);
    for (uint32_t i = 0; i < g->node_count; i++)
        v[i] = values(graph_node_count(&g->nodes[i]));
    for (uint32_t row = 0; row < b->rows; row++) {
        for (uint32_t i = 0; i < g->node_count; i++)
            node_forward(g, i, params, b, row, v);
        const double *z = v[g->node_count - 1];
        if (logits)
            memcpy(logits + row * classes, z, classes * sizeof *z);
        if (b->labels && b->labels[row] < 0)
            continue;
        loss += row_loss(z, classes, b, row);
        valid++;
    }
    for (uint32_t i = 0; i < g->node_count; i++)
        mem_free(v[i]);
    return valid ? loss / valid : 0;
}

double oracle_slope(const struct graph *g, double *params, uint32_t i,
                    const struct oracle_batch *b) {
    const double h = 1e-6;
    double keep = params[i];
    params[i] = keep + h;
    double up = oracle_loss(g, params, b, NULL);
    params[i] = keep - h;
    double down = oracle_loss(g, params, b, NULL);
    params[i] = keep;
    return (up - down) / (2 * h);
}

void oracle_random_values(struct rng *rng, float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        x[i] = 2 * rng_f32(rng) - 1;
}

/* ---- Random graphs ---- */

static uint32_t between(struct rng *rng, uint32_t low, uint32_t high) {
    return low + rng_below(rng, high - low + 1);
}

static struct graph_node random_layer(struct rng *rng, const struct graph *g, uint32_t at) {
    const struct graph_node *x = &g->nodes[at];
    struct graph_node n = {.inputs = {at, at}};
    n.padding = (enum graph_padding)rng_below(rng, 2);
    n.kernel_h = between(rng, 1, 3);
    n.kernel_w = between(rng, 1, 3);
    n.stride_h = between(rng, 1, 2);
    n.stride_w = between(rng, 1, 2);
    n.bias = rng_below(rng, 4) != 0;
    switch (rng_below(rng, 9)) {
    case 0:
    case 1:
    case 2:
        n.op = GRAPH_CONV2D;
        n.groups = x->rank == 3 && x->dims[2] % 2 == 0 ? between(rng, 1, 2) : 1;
        n.units = n.groups * between(rng, 1, 2);
        return n;
    case 3:
    case 4:
        n.op = GRAPH_ACT;
        n.act = (enum kern_act)between(rng, KERN_ACT_RELU, KERN_ACT_TANH);
        n.slope = 0.2f;
        return n;
    case 5:
        n.op = GRAPH_MAXPOOL;
        if (rng_below(rng, 2)) { /* the kind that fuses */
            n.stride_h = n.kernel_h;
            n.stride_w = n.kernel_w;
        }
        return n;
    case 6:
        n.op = GRAPH_AVGPOOL;
        return n;
    case 7:
        n.op = GRAPH_DROPOUT;
        n.rate = 0.3f;
        return n;
    default:
        n.op = GRAPH_ADD;
        for (uint32_t i = 1; i < at;
             i++) /* a shortcut from an earlier layer of the same shape, if any */
            if (memcmp(g->nodes[i].dims, x->dims, sizeof x->dims) == 0 && rng_below(rng, 2))
                n.inputs[1] = i;
        return n;
    }
}

void oracle_random_graph(struct rng *rng, struct graph *g) {
    uint32_t dims[3] = {between(rng, 3, 6), between(rng, 3, 6), between(rng, 1, 3)}, at;
    graph_init(g);
    if (graph_input(g, 3, dims, &at, NULL) != SOTTO_OK)
        abort();
    uint32_t layers = between(rng, 1, 7);
    for (uint32_t i = 0; i < layers; i++) {
        struct graph_node n = random_layer(rng, g, at);
        (void)graph_add(g, &n, &at, NULL); /* what does not fit is left out */
    }
    struct graph_node flat = {.op = rng_below(rng, 3) ? GRAPH_FLATTEN : GRAPH_GLOBALPOOL,
                              .inputs = {at}};
    struct graph_node hidden = {.op = GRAPH_DENSE, .units = 4, .bias = true};
    struct graph_node act_node = {.op = GRAPH_ACT,
                                  .act = (enum kern_act)between(rng, KERN_ACT_RELU, KERN_ACT_TANH),
                                  .slope = 0.1f};
    struct graph_node drop = {.op = GRAPH_DROPOUT, .rate = 0.5f};
    struct graph_node last = {.op = GRAPH_DENSE, .units = between(rng, 2, 5), .bias = true};
    bool ok = graph_add(g, &flat, &at, NULL) == SOTTO_OK;
    if (rng_below(rng, 2)) {
        hidden.inputs[0] = at;
        ok &= graph_add(g, &hidden, &at, NULL) == SOTTO_OK;
        act_node.inputs[0] = at;
        ok &= graph_add(g, &act_node, &at, NULL) == SOTTO_OK;
        if (rng_below(rng, 2)) {
            drop.inputs[0] = at;
            ok &= graph_add(g, &drop, &at, NULL) == SOTTO_OK;
        }
    }
    last.inputs[0] = at;
    ok &= graph_add(g, &last, NULL, NULL) == SOTTO_OK && graph_finish(g, NULL) == SOTTO_OK;
    if (!ok)
        abort();
}
