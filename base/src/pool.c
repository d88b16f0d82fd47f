/* Bounded queue and fixed worker pool on pthreads. */
#include "sotto/base/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "sotto/base/mem.h"

#define POOL_WORKERS_MAX 256u

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    void **items;
    size_t capacity, head, len;
    bool closed;
};

/* Deadlines are on the monotonic clock: a step of the wall clock must not wake or hang a waiter. */
static int cond_init_mono(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc != 0)
        return rc;
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (rc == 0)
        rc = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return rc;
}

struct queue *queue_new(size_t capacity) {
    struct queue *q = mem_zalloc(sizeof *q);
    if (q == NULL)
        return NULL;
    q->items = mem_array(capacity, sizeof *q->items);
    q->capacity = capacity;
    if (q->items == NULL)
        goto free_queue;
    if (pthread_mutex_init(&q->lock, NULL) != 0)
        goto free_queue;
    if (cond_init_mono(&q->not_empty) != 0)
        goto free_lock;
    if (cond_init_mono(&q->not_full) != 0)
        goto free_cond;
    return q;
free_cond:
    pthread_cond_destroy(&q->not_empty);
free_lock:
    pthread_mutex_destroy(&q->lock);
free_queue:
    mem_free(q->items);
    mem_free(q);
    return NULL;
}

void queue_free(struct queue *q) {
    if (q == NULL)
        return;
    pthread_cond_destroy(&q->not_full);
    pthread_cond_destroy(&q->not_empty);
    pthread_mutex_destroy(&q->lock);
    mem_free(q->items);
    mem_free(q);
}

static void put_locked(struct queue *q, void *item) {
    q->items[(q->head + q->len) % q->capacity] = item;
    q->len++;
    pthread_cond_signal(&q->not_empty);
}

enum sotto_status queue_push(struct queue *q, void *item) {
    enum sotto_status status = SOTTO_OK;
    pthread_mutex_lock(&q->lock);
    if (q->closed)
        status = SOTTO_CANCELLED;
    else if (q->len == q->capacity)
        status = SOTTO_BUSY;
    else
        put_locked(q, item);
    pthread_mutex_unlock(&q->lock);
    return status;
}

enum sotto_status queue_push_wait(struct queue *q, void *item) {
    enum sotto_status status = SOTTO_OK;
    pthread_mutex_lock(&q->lock);
    while (!q->closed && q->len == q->capacity)
        pthread_cond_wait(&q->not_full, &q->lock);
    if (q->closed)
        status = SOTTO_CANCELLED;
    else
        put_locked(q, item);
    pthread_mutex_unlock(&q->lock);
    return status;
}

static struct timespec deadline_in(int timeout_ms) {
    struct timespec t = {0};
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += timeout_ms / 1000;
    t.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

enum sotto_status queue_pop(struct queue *q, int timeout_ms, void **item) {
    enum sotto_status status = SOTTO_OK;
    const struct timespec until = deadline_in(timeout_ms > 0 ? timeout_ms : 0);
    *item = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->len == 0 && !q->closed && status == SOTTO_OK) {
        if (timeout_ms < 0)
            pthread_cond_wait(&q->not_empty, &q->lock);
        else if (timeout_ms == 0 ||
                 pthread_cond_timedwait(&q->not_empty, &q->lock, &until) == ETIMEDOUT)
            status = SOTTO_TIMEOUT;
    }
    if (q->len > 0) {
        status = SOTTO_OK;
        *item = q->items[q->head];
        q->head = (q->head + 1) % q->capacity;
        q->len--;
        pthread_cond_signal(&q->not_full);
    } else if (q->closed) {
        status = SOTTO_CANCELLED;
    }
    pthread_mutex_unlock(&q->lock);
    return status;
}

void queue_close(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->lock);
}

size_t queue_len(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    const size_t len = q->len;
    pthread_mutex_unlock(&q->lock);
    return len;
}

struct job {
    pool_job *run;
    void *ctx;
};

struct worker {
    struct pool *pool;
    unsigned index;
    pthread_t thread;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job came, or the pool closes */
    pthread_cond_t room; /* a slot of the ring is free */
    pthread_cond_t idle; /* nothing queued, nothing running */
    struct job *ring;
    size_t capacity, head, len;
    size_t running;
    bool closed;
    unsigned worker_count;
    struct worker *workers;
};

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct pool *p = w->pool;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->len == 0 && !p->closed)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->len == 0)
            break; /* closed and drained */
        const struct job job = p->ring[p->head];
        p->head = (p->head + 1) % p->capacity;
        p->len--;
        p->running++;
        pthread_cond_signal(&p->room);
        pthread_mutex_unlock(&p->lock);
        job.run(job.ctx, w->index);
        pthread_mutex_lock(&p->lock);
        p->running--;
        if (p->running == 0 && p->len == 0)
            pthread_cond_broadcast(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static int pool_sync_init(struct pool *p) {
    if (pthread_mutex_init(&p->lock, NULL) != 0)
        return -1;
    if (pthread_cond_init(&p->work, NULL) != 0)
        goto free_lock;
    if (pthread_cond_init(&p->room, NULL) != 0)
        goto free_work;
    if (pthread_cond_init(&p->idle, NULL) != 0)
        goto free_room;
    return 0;
free_room:
    pthread_cond_destroy(&p->room);
free_work:
    pthread_cond_destroy(&p->work);
free_lock:
    pthread_mutex_destroy(&p->lock);
    return -1;
}

struct pool *pool_new(unsigned workers, size_t queue_capacity) {
    if (workers == 0 || workers > POOL_WORKERS_MAX)
        return NULL;
    struct pool *p = mem_zalloc(sizeof *p);
    if (p == NULL)
        return NULL;
    p->capacity = queue_capacity;
    p->ring = mem_array(queue_capacity, sizeof *p->ring);
    p->workers = mem_array(workers, sizeof *p->workers);
    if (p->ring == NULL || p->workers == NULL || pool_sync_init(p) != 0) {
        mem_free(p->ring);
        mem_free(p->workers);
        mem_free(p);
        return NULL;
    }
    for (unsigned i = 0; i < workers; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i};
        if (pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]) != 0) {
            pool_free(p); /* joins those that started */
            return NULL;
        }
        p->worker_count = i + 1;
    }
    return p;
}

void pool_free(struct pool *p) {
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->closed = true;
    pthread_cond_broadcast(&p->work);
    pthread_cond_broadcast(&p->room);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->worker_count; i++)
        pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->room);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->ring);
    mem_free(p->workers);
    mem_free(p);
}

unsigned pool_workers(const struct pool *p) {
    return p->worker_count;
}

enum sotto_status pool_submit(struct pool *p, pool_job *job, void *ctx) {
    enum sotto_status status = SOTTO_OK;
    pthread_mutex_lock(&p->lock);
    while (!p->closed && p->len == p->capacity)
        pthread_cond_wait(&p->room, &p->lock);
    if (p->closed) {
        status = SOTTO_CANCELLED;
    } else {
        p->ring[(p->head + p->len) % p->capacity] = (struct job){job, ctx};
        p->len++;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

void pool_wait(struct pool *p) {
    pthread_mutex_lock(&p->lock);
    while (p->len > 0 || p->running > 0)
        pthread_cond_wait(&p->idle, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

unsigned pool_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int n = CPU_COUNT(&set);
        if (n > 0)
            return (unsigned)n;
    }
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}
