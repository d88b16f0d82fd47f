/* Data sets by name below a folder: which files they are made of. */
#include "data_private.h"

#include <stdio.h>
#include <string.h>

/* out = dir/folder/file.gz or dir/folder/file, whichever is there. */
static enum sotto_status named_find(char out[IO_PATH_MAX], const char *dir, const char *folder,
                                    const char *file, struct sotto_error *err) {
    static const char *const suffixes[] = {".gz", ""};
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        int n = snprintf(out, IO_PATH_MAX, "%s/%s/%s%s", dir, folder, file, suffixes[i]);
        if (n < 0 || n >= IO_PATH_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: the path is too long", data_shown(dir));
        if (io_exists(out))
            return SOTTO_OK;
    }
    return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "%s: no such file, nor with .gz", data_shown(out));
}

static enum sotto_status named_idx(const char *folder, const char *dir, bool test,
                                   struct dataset *out, struct sotto_error *err) {
    char images[IO_PATH_MAX], labels[IO_PATH_MAX];
    const char *images_file = test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte";
    const char *labels_file = test ? "t10k-labels-idx1-ubyte" : "train-labels-idx1-ubyte";
    enum sotto_status status = named_find(images, dir, folder, images_file, err);
    if (status == SOTTO_OK)
        status = named_find(labels, dir, folder, labels_file, err);
    return status == SOTTO_OK ? dataset_read_idx(images, labels, out, err) : status;
}

static enum sotto_status named_mnist(const char *dir, bool test, struct dataset *out,
                                     struct sotto_error *err) {
    char writers[IO_PATH_MAX];
    const char *file = test ? "qmnist-test-labels-idx2-int" : "qmnist-train-labels-idx2-int";
    enum sotto_status status = named_idx("mnist", dir, test, out, err);
    if (status != SOTTO_OK || named_find(writers, dir, "qmnist-labels", file, NULL) != SOTTO_OK)
        return status;
    status = dataset_read_qmnist_keys(out, writers, err);
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}

static enum sotto_status named_fashion(const char *dir, bool test, struct dataset *out,
                                       struct sotto_error *err) {
    return named_idx("fashion-mnist", dir, test, out, err);
}

static enum sotto_status named_cifar10(const char *dir, bool test, struct dataset *out,
                                       struct sotto_error *err) {
    static const char *const folders[] = {"cifar10", "cifar10/cifar-10-batches-bin",
                                          "cifar-10-batches-bin"};
    char paths[5][IO_PATH_MAX];
    const char *list[5];
    size_t count = test ? 1 : 5, folder = 0;
    for (size_t i = 0; i < count;) {
        int n = test ? snprintf(paths[i], IO_PATH_MAX, "%s/%s/test_batch.bin", dir, folders[folder])
                     : snprintf(paths[i], IO_PATH_MAX, "%s/%s/data_batch_%zu.bin", dir,
                                folders[folder], i + 1);
        if (n < 0 || n >= IO_PATH_MAX)
            return SOTTO_FAIL(err, SOTTO_LIMIT, "%s: the path is too long", data_shown(dir));
        list[i] = paths[i];
        if (io_exists(paths[i]))
            i++;
        else if (i > 0 || ++folder == ARRAY_LEN(folders))
            return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "%s: no such file", data_shown(paths[i]));
    }
    return dataset_read_cifar10(list, count, out, err);
}

static enum sotto_status
named_folder(const char *dir, const char *folder, bool test,
             enum sotto_status (*read)(const char *, bool, struct dataset *, struct sotto_error *),
             struct dataset *out, struct sotto_error *err) {
    char path[IO_PATH_MAX];
    const enum sotto_status status = io_join(path, sizeof path, dir, folder, err);
    if (status == SOTTO_OK && !io_exists(path))
        return SOTTO_FAIL(err, SOTTO_NOT_FOUND, "%s: no such folder", data_shown(path));
    return status == SOTTO_OK ? read(path, test, out, err) : status;
}

static enum sotto_status named_fsdd(const char *dir, bool test, struct dataset *out,
                                    struct sotto_error *err) {
    return named_folder(dir, "fsdd/recordings", test, dataset_read_fsdd, out, err);
}

static enum sotto_status named_shakespeare(const char *dir, bool test, struct dataset *out,
                                           struct sotto_error *err) {
    return named_folder(dir, "shakespeare", test, dataset_read_shakespeare, out, err);
}

/* One row a data set: see docs/howto/add-a-data-set.md. */
static const struct {
    const char *name;
    enum sotto_status (*read)(const char *dir, bool test, struct dataset *out,
                              struct sotto_error *err);
} named_sets[] = {
    {"mnist", named_mnist}, {"fashion-mnist", named_fashion},   {"cifar10", named_cifar10},
    {"fsdd", named_fsdd},   {"shakespeare", named_shakespeare},
};

enum sotto_status dataset_read_named(const char *name, const char *dir, bool test,
                                     struct dataset *out, struct sotto_error *err) {
    dataset_init(out);
    for (size_t i = 0; i < ARRAY_LEN(named_sets); i++)
        if (strcmp(name, named_sets[i].name) == 0)
            return named_sets[i].read(dir, test, out, err);
    char shown[48], known[128] = "";
    for (size_t i = 0, at = 0; i < ARRAY_LEN(named_sets) && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "",
                               named_sets[i].name);
    sotto_escape(shown, sizeof shown, name, strlen(name));
    return SOTTO_FAIL(err, SOTTO_INVALID, "data set '%s' is unknown; known are %s", shown, known);
}
