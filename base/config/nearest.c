/* The nearest known word, by the number of letters to change, insert, delete or swap. */
#include "nearest.h"

#include <string.h>

#define WORD_MAX 64u

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Optimal string alignment distance: Levenshtein with swaps of neighbours. Both at most WORD_MAX
 * bytes. */
static size_t distance_of(const char *a, size_t na, const char *b, size_t nb) {
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        before[j] = last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            now[j] =
                least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[nb];
}

void nearest_offer(const char *word, const char *candidate, size_t len, char *best, size_t cap,
                   size_t *distance) {
    const size_t n = strlen(word);
    if (n == 0 || n > WORD_MAX || len == 0 || len > WORD_MAX || len >= cap)
        return;
    const size_t d = distance_of(word, n, candidate, len);
    const size_t close = n < 4 ? 1 : n < 9 ? 2 : 3;
    if (d > close || d >= *distance || d >= n)
        return;
    *distance = d;
    memcpy(best, candidate, len);
    best[len] = '\0';
}
