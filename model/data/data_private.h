/* Private to model/data: byte sources, the from-memory forms of the readers, and how they name
 * things in errors. */
#ifndef SOTTO_MODEL_DATA_PRIVATE_H
#define SOTTO_MODEL_DATA_PRIVATE_H

#include <zlib.h>

#include "sotto/model/data.h"

#define DATA_NAME_SHOWN_MAX 96   /* of a path, its end: the reason must fit into the message too */
#define DATA_SIDE_MAX       4096 /* height and width of an image */
#define DATA_IDX_CLASSES    10   /* IDX states no class count: MNIST and its siblings have ten */
#define CSV_FEATURES_MAX    65536
#define CSV_CLASSES_MAX     65536
#define CSV_FIELD_MAX       64

/* The end of a path that is too long to show whole. */
const char *data_shown(const char *path);

/* Bytes of a file held in memory, plain or gzip by content; offsets are those of the inflated data.
 */
struct data_source {
    const char *name; /* shown in errors, borrowed */
    struct view raw;  /* borrowed */
    bool gzip, ended;
    size_t off;
    z_stream z;
};
enum sotto_status data_source_open(struct data_source *s, struct view raw, const char *name,
                                   struct sotto_error *err);
void data_source_close(struct data_source *s);
/* Exactly n bytes, else CORRUPT: `what` names the part of the file. */
enum sotto_status data_source_read(struct data_source *s, void *out, size_t n, const char *what,
                                   struct sotto_error *err);
enum sotto_status data_source_skip(struct data_source *s, size_t n, const char *what,
                                   struct sotto_error *err);
/* OK when nothing is left (and a gzip checksum held). */
enum sotto_status data_source_end(struct data_source *s, struct sotto_error *err);
/* The most bytes that the whole source can ever give: what a header promises beyond it is a lie. */
size_t data_source_bytes_max(const struct data_source *s);

/* Allocates count examples of schema, all labels -1, or LIMIT above DATASET_BYTES_MAX. */
enum sotto_status dataset_alloc(struct dataset *d, const struct data_schema *schema, size_t count,
                                const char *name, struct sotto_error *err);

/* The readers on bytes in memory: what the files' readers and the fuzz targets share. */
enum sotto_status dataset_parse_idx(struct view images, const char *images_name, struct view labels,
                                    const char *labels_name, struct dataset *out,
                                    struct sotto_error *err);
enum sotto_status dataset_parse_qmnist(struct dataset *d, struct view rows, const char *name,
                                       struct sotto_error *err);
enum sotto_status dataset_parse_csv(struct view text, const char *name, struct dataset *out,
                                    struct sotto_error *err);
/* Writes one file's records into d, allocated with data_cifar10_schema, from example *done on;
 * *done moves behind them. IO when they are not whole or more than d has room for. */
extern const struct data_schema data_cifar10_schema;
enum sotto_status dataset_parse_cifar10(struct view file, const char *name, struct dataset *d,
                                        size_t *done, struct sotto_error *err);

/* fsdd.c: a WAVE file's samples (16-bit mono at 8 kHz, 256 at the least), borrowed from it, and
 * their picture of 32 moments by 32 mel bands. */
extern const struct data_schema data_fsdd_schema;
enum sotto_status data_parse_wav(struct view file, const char *name, struct view *pcm,
                                 struct sotto_error *err);
void data_sound_picture(struct view pcm, uint8_t out[32 * 32]);
/* shakespeare.c: one play. */
extern const struct data_schema data_shakespeare_schema;
enum sotto_status data_parse_play(struct view text, const char *name, bool test,
                                  struct dataset *out, struct sotto_error *err);

#endif
