/* Weights in panels: the order in which a backend of the host keeps a dense layer's matrix [k][n]
 * in the arena, so that its products stream it.
 *
 * The rows are cut into blocks of PANEL_ROWS, the last of another size. A block of r rows
 * holds, one after the other, panels [r][8] of eight adjacent columns each, and where 8 does not
 * divide n an end panel [r][4 to 11]. A forward product reads a panel's rows one after the other,
 * dX reads a few rows of each of a block's panels, an update writes tiles that lie together. The
 * count of elements stays, so nothing else in the arena moves. */
#ifndef SOTTO_KERN_PANELS_H
#define SOTTO_KERN_PANELS_H

#include "src/kern_int.h"

#define PANEL            8  /* columns */
#define PANEL_SIDE_LEAST 12 /* of k and n: smaller matrices stay in layout order */
/* Five tiles of an update. 30 lines of 64 bytes from panel to panel spread over half of the sets of
 * a small cache, which 64 rows would not. */
#define PANEL_ROWS      60
#define PANEL_ROWS_LAST 24 /* less than so many go to the block before */

struct kern_panel_shape {
    size_t rows;   /* of a block */
    size_t blocks; /* the last one too */
    size_t last;   /* rows of the last block: 12 to PANEL_ROWS + PANEL_ROWS_LAST - 1 */
    size_t full;   /* columns in panels of 8 */
    size_t end;    /* columns of the end panel: 0, 4 to 7 or 9 to 11 */
};

static inline struct kern_panel_shape kern_panel_shape(size_t k, size_t n) {
    struct kern_panel_shape s = {.rows = PANEL_ROWS};
    s.blocks = k / PANEL_ROWS + (k < PANEL_ROWS || k % PANEL_ROWS >= PANEL_ROWS_LAST);
    s.last = k - (s.blocks - 1) * s.rows;
    s.full = n / PANEL * PANEL;
    if (n % PANEL && n % PANEL < 4)
        s.full -= PANEL; /* at least one panel: n >= PANEL_SIDE_LEAST */
    s.end = n - s.full;
    return s;
}
static inline size_t kern_panel_block_rows(const struct kern_panel_shape *s, size_t block) {
    return block + 1 < s->blocks ? s->rows : s->last;
}

/* A buffer in panels. */
struct kern_panel_buffer {
    uint32_t buffer, k, n;
};
struct kern_panels {
    uint8_t *flags; /* [buffer_count] of KERN_PANEL_*; NULL: everything is in layout order */
    struct kern_panel_buffer *list;
    uint32_t count;
};
#define KERN_PANEL_IN  1u /* lies in panels */
#define KERN_PANEL_SUM 2u /* is only cleared or clipped as a whole: any order will do */

/* Finds the buffers of a checked program that can lie in panels: parameters that are only B of
 * products and of dX, C of dW, and operands of SGD; with them their gradients, momentum and
 * anchors. NOMEM without a message; out is then empty. */
enum sotto_status kern_panels_plan(const struct kern_program *p, struct kern_panels *out);
void kern_panels_deinit(struct kern_panels *s);

/* Copies bytes at offset of an arena in or out, turning what lies in panels into layout order.
 * buffer: whose bytes these are, or KERN_NONE for a range of parameters, state or anchor. */
void kern_panels_write(const struct kern_panels *s, const struct kern_program *p,
                       unsigned char *arena, uint32_t buffer, uint64_t offset, const void *src,
                       uint64_t bytes);
void kern_panels_read(const struct kern_panels *s, const struct kern_program *p,
                      const unsigned char *arena, uint32_t buffer, uint64_t offset, void *dst,
                      uint64_t bytes);

#endif
