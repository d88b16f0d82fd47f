/* A fixed worker pool and the bounded queue between threads: the only way work crosses threads. */
#ifndef SOTTO_BASE_POOL_H
#define SOTTO_BASE_POOL_H

#include "sotto/base/status.h"

/* Bounded FIFO of pointers. push returns BUSY when full, pop waits up to timeout_ms (TIMEOUT) or
 * until closed (CANCELLED). */
struct queue;
struct queue *queue_new(size_t capacity) SOTTO_NODISCARD;
void queue_free(struct queue *q);
enum sotto_status queue_push(struct queue *q, void *item);
enum sotto_status queue_push_wait(struct queue *q,
                                  void *item); /* waits for room; CANCELLED when closed */
enum sotto_status queue_pop(struct queue *q, int timeout_ms, void **item); /* < 0 waits for ever */
void queue_close(struct queue *q); /* wakes all; what is queued can still be popped */
size_t queue_len(struct queue *q);

/* Workers with an index 0..n-1 each; a job runs on one of them. */
struct pool;
typedef void pool_job(void *ctx, unsigned worker);
struct pool *pool_new(unsigned workers, size_t queue_capacity) SOTTO_NODISCARD;
void pool_free(struct pool *p); /* finishes queued jobs, joins */
unsigned pool_workers(const struct pool *p);
enum sotto_status pool_submit(struct pool *p, pool_job *job, void *ctx); /* waits for room */
void pool_wait(struct pool *p); /* until every submitted job is done */
unsigned pool_cpu_count(void);  /* processors this process may use, >= 1 */

#endif
