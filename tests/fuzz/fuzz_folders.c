/* Fuzzes the files of data sets that are folders: recordings and plays. First byte: which. */
#include <stdlib.h>

#include "data/data_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct dataset d;
    struct view pcm;
    uint8_t picture[32 * 32];
    if (size == 0)
        return 0;
    const struct view v = view_of(data + 1, size - 1);
    if (data[0] % 2 == 0) {
        if (data_parse_wav(v, "fuzz", &pcm, NULL) == SOTTO_OK)
            data_sound_picture(pcm, picture);
        return 0;
    }
    if (data_parse_play(v, "fuzz", data[0] % 4 == 1, &d, NULL) == SOTTO_OK) {
        for (uint32_t i = 0; i < d.count; i++)
            if (d.labels[i] < 0 || d.labels[i] >= 77 || d.keys[i] >= d.key_count)
                abort();
        dataset_deinit(&d);
    }
    return 0;
}
