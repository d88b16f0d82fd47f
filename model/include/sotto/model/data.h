/* Data sets: examples with labels and natural keys; readers for IDX, CIFAR-10, CSV; the digit
 * generator. */
#ifndef SOTTO_MODEL_DATA_H
#define SOTTO_MODEL_DATA_H

#include "sotto/base.h"

#define DATASET_BYTES_MAX ((size_t)2 << 30)

enum data_dtype { DATA_U8 = 0, DATA_F32 = 1 };

/* What an example is: a plan's package names one, a device's collection has one; they must be
 * equal. */
struct data_schema {
    enum data_dtype dtype;
    uint32_t rank; /* 1..3, NHWC without N */
    uint32_t dims[3];
    uint32_t classes;
    float scale,
        shift; /* model input = scale * value + shift (for u8 pixels usually 1/255 and 0) */
};
bool data_schema_equal(const struct data_schema *a, const struct data_schema *b);
/* "u8 28x28x1, 10 classes". out holds at least 64. */
char *data_schema_text(const struct data_schema *s, char *out, size_t cap);
uint32_t data_schema_count(const struct data_schema *s); /* values of an example */
size_t data_schema_example_bytes(const struct data_schema *s);

struct dataset {
    struct data_schema schema;
    uint32_t count;
    void *x;         /* count * example_bytes */
    int32_t *labels; /* count; -1: unlabelled */
    uint32_t *keys;  /* natural key of each example (writer), 0..key_count-1; NULL when none */
    uint32_t key_count;
};
void dataset_init(struct dataset *d);
void dataset_deinit(struct dataset *d);
const void *dataset_example(const struct dataset *d, uint32_t i);

/* A borrowed selection of examples: what training and evaluation read. */
struct examples {
    const struct data_schema *schema;
    const void *x;
    const int32_t *labels;
    const uint32_t *index; /* count positions into x and labels; NULL: 0..count-1 */
    uint32_t count;
};
struct examples dataset_examples(const struct dataset *d); /* all of it */

/* IDX (gzip or plain, by content): u8 images [n][h][w] and u8 labels [n]. Errors name file and
 * byte. The format states no number of classes: it is ten, as in MNIST and its siblings, and other
 * labels are refused. */
enum sotto_status dataset_read_idx(const char *images_path, const char *labels_path,
                                   struct dataset *out, struct sotto_error *err);
/* Adds natural keys from a QMNIST label file (n x 8 big-endian int32; column 2 is the writer); its
 * column 0 must equal the labels of the first count rows. Writers are renumbered 0.. in ascending
 * order of their ids. */
enum sotto_status dataset_read_qmnist_keys(struct dataset *d, const char *path,
                                           struct sotto_error *err);
/* One or more CIFAR-10 binary files (3073-byte records: label, 32x32 red, green, blue), converted
 * to NHWC. */
enum sotto_status dataset_read_cifar10(const char *const *paths, size_t path_count,
                                       struct dataset *out, struct sotto_error *err);
/* CSV of numbers, one example a line, label (0..classes-1) in the last column, optional header
 * line; f32 features. classes is the largest label + 1, at least 2: a caller whose part may lack
 * the last classes raises it. Errors name file and line. */
enum sotto_status dataset_read_csv(const char *path, struct dataset *out, struct sotto_error *err);
/* The Free Spoken Digit Dataset's folder of recordings: u8 pictures of 32 moments by 32 mel bands;
 * recordings 0 to 4 of each digit and speaker are the test part; keys are speakers by name. */
enum sotto_status dataset_read_fsdd(const char *dir, bool test, struct dataset *out,
                                    struct sotto_error *err);
/* A folder of plays with speaker mark-up (HTML): predict a character from the eight before it, u8
 * one-hot of 77; the last fifth of each role's text is the test part; keys are roles of plays. */
enum sotto_status dataset_read_shakespeare(const char *dir, bool test, struct dataset *out,
                                           struct sotto_error *err);
/* A named data set below dir: "mnist", "fashion-mnist" (train or test part, with keys for mnist
 * when the QMNIST labels are there), "cifar10", "fsdd", "shakespeare". NOT_FOUND names the missing
 * file. */
enum sotto_status dataset_read_named(const char *name, const char *dir, bool test,
                                     struct dataset *out, struct sotto_error *err);

/* Drawn handwritten digits: 28x28x1 u8 images from stroke skeletons. Writer w of seed has its own
 * slant, thickness, scale, aspect, wobble, stroke habits and class mix; example i of writer w is
 * the same whatever else is drawn. Labels 0..9. */
struct digits_config {
    uint64_t seed;
    uint32_t writer_first, writer_count;
    uint32_t per_writer;  /* examples each */
    bool uniform_classes; /* instead of the writer's own mix (for validation and test sets) */
};
/* keys are 0..writer_count-1 (writer_first + key is the writer). */
enum sotto_status dataset_draw_digits(const struct digits_config *config, struct dataset *out,
                                      struct sotto_error *err);
/* Prints an example of one channel as text, two rows a line with half blocks (or ASCII shades),
 * `width` columns. */
void data_print_image(const struct data_schema *s, const void *example, bool unicode,
                      struct buf *out);

#endif
