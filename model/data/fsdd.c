/* The Free Spoken Digit Dataset: a folder of recordings DIGIT_SPEAKER_INDEX.wav (8 kHz, 16 bit,
 * mono). A recording becomes a picture of 32 moments by 32 mel bands: log energy, 60 dB below its
 * loudest are 0..255. Time is stretched to the recording's length. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data_private.h"

#define SIDE      32u  /* moments and bands */
#define FRAME     256u /* samples of a moment's spectrum, a power of two */
#define RATE      8000u
#define WAV_MAX   ((size_t)4 << 20)
#define FILES_MAX 100000u
#define NAME_MAX_ 64u
#define TEST_LAST 4 /* recordings 0 to 4 of each digit and speaker are the test part */
#define PI        3.14159265358979323846
#define RANGE_DB  60.0

const struct data_schema data_fsdd_schema = {
    .dtype = DATA_U8, .rank = 3, .dims = {SIDE, SIDE, 1}, .classes = 10, .scale = 1.0f / 255.0f};

/* ---- A recording */

static uint32_t le(const uint8_t *p, int bytes) {
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << 8 * i;
    return v;
}

enum sotto_status data_parse_wav(struct view file, const char *name, struct view *pcm,
                                 struct sotto_error *err) {
    bool format = false;
    if (file.n < 12 || memcmp(file.p, "RIFF", 4) != 0 || memcmp(file.p + 8, "WAVE", 4) != 0)
        return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: this is not a WAVE file", data_shown(name));
    for (size_t at = 12; at + 8 <= file.n;) {
        const uint8_t *chunk = file.p + at;
        const size_t n = le(chunk + 4, 4);
        if (n > file.n - at - 8)
            return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: byte %zu: a chunk of %zu bytes does not fit",
                              data_shown(name), at, n);
        if (memcmp(chunk, "fmt ", 4) == 0) {
            if (n < 16 || le(chunk + 8, 2) != 1 || le(chunk + 10, 2) != 1 ||
                le(chunk + 12, 4) != RATE || le(chunk + 22, 2) != 16)
                return SOTTO_FAIL(err, SOTTO_UNSUPPORTED,
                                  "%s: expected 16-bit mono PCM at %u samples a second",
                                  data_shown(name), RATE);
            format = true;
        } else if (memcmp(chunk, "data", 4) == 0 && format) {
            *pcm = view_of(chunk + 8, n & ~(size_t)1);
            if (n < 2 * (size_t)FRAME)
                return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: shorter than %u samples",
                                  data_shown(name), FRAME);
            return SOTTO_OK;
        }
        at += 8 + n + (n & 1);
    }
    return SOTTO_FAIL(err, SOTTO_CORRUPT, "%s: it holds no sound", data_shown(name));
}

/* In place, n = FRAME complex values: decimation in time (Cooley and Tukey 1965). */
static void fourier(double *re, double *im) {
    for (uint32_t i = 1, j = 0; i < FRAME; i++) {
        uint32_t bit = FRAME >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            const double r = re[i], m = im[i];
            re[i] = re[j], im[i] = im[j];
            re[j] = r, im[j] = m;
        }
    }
    for (uint32_t len = 2; len <= FRAME; len <<= 1)
        for (uint32_t k = 0; k < len / 2; k++) {
            const double c = cos(2 * PI * k / len), s = -sin(2 * PI * k / len);
            for (uint32_t i = k; i < FRAME; i += len) {
                const uint32_t j = i + len / 2;
                const double r = re[j] * c - im[j] * s, m = re[j] * s + im[j] * c;
                re[j] = re[i] - r, im[j] = im[i] - m;
                re[i] += r, im[i] += m;
            }
        }
}

static double mel(double hz) {
    return 1127 * log(1 + hz / 700);
}

/* Energy of the band-th triangle between 60 Hz and half the rate. */
static double band_energy(const double *power, uint32_t band) {
    const double low = mel(60), step = (mel(RATE / 2.0) - low) / (SIDE + 1);
    const double centre = low + step * (band + 1);
    double sum = 0;
    for (uint32_t i = 0; i < FRAME / 2; i++) {
        const double away = fabs(mel((double)i * RATE / FRAME) - centre) / step;
        sum += away < 1 ? (1 - away) * power[i] : 0;
    }
    return sum;
}

void data_sound_picture(struct view pcm, uint8_t out[SIDE * SIDE]) {
    const size_t samples = pcm.n / 2;
    double db[SIDE * SIDE], top = -INFINITY;
    for (uint32_t t = 0; t < SIDE; t++) {
        double re[FRAME], im[FRAME] = {0}, power[FRAME / 2];
        const size_t at = (samples - FRAME) * t / (SIDE - 1);
        for (uint32_t i = 0; i < FRAME; i++) {
            const int16_t v = (int16_t)le(pcm.p + 2 * (at + i), 2);
            re[i] = v / 32768.0 * (0.5 - 0.5 * cos(2 * PI * i / (FRAME - 1)));
        }
        fourier(re, im);
        for (uint32_t i = 0; i < FRAME / 2; i++)
            power[i] = re[i] * re[i] + im[i] * im[i];
        for (uint32_t b = 0; b < SIDE; b++) {
            const double v = 10 * log10(band_energy(power, b) + 1e-10);
            db[t * SIDE + b] = v;
            top = v > top ? v : top;
        }
    }
    for (uint32_t i = 0; i < SIDE * SIDE; i++) {
        const double v = 255 * (1 + (db[i] - top) / RANGE_DB);
        out[i] = v > 0 ? (uint8_t)(v + 0.5) : 0;
    }
}

/* ---- The folder */

struct recording {
    char name[NAME_MAX_];
    uint32_t digit, index;
    char speaker[NAME_MAX_];
};
struct folder {
    struct recording *list;
    uint32_t count, cap;
    bool no_memory;
};

static bool read_name(const char *name, struct recording *r) {
    const size_t n = strlen(name);
    const char *last = strrchr(name, '_');
    uint64_t index;
    if (n >= NAME_MAX_ || n < 8 || strcmp(name + n - 4, ".wav") != 0 || name[0] < '0' ||
        name[0] > '9' || name[1] != '_' || last <= name + 1)
        return false;
    char number[NAME_MAX_];
    memcpy(r->name, name, n + 1);
    memcpy(number, last + 1, n);
    number[n - 4 - (size_t)(last + 1 - name)] = '\0';
    if (num_parse_u64(number, 0, UINT32_MAX, &index, NULL) != SOTTO_OK)
        return false;
    memcpy(r->speaker, name + 2, (size_t)(last - name - 2));
    r->speaker[last - name - 2] = '\0';
    r->digit = (uint32_t)(name[0] - '0');
    r->index = (uint32_t)index;
    return true;
}

static enum sotto_status take_name(void *ctx, const char *name) {
    struct folder *f = ctx;
    struct recording r;
    memset(&r, 0, sizeof r);
    if (!read_name(name, &r))
        return SOTTO_OK;
    if (f->count == f->cap) {
        const uint32_t cap = f->cap ? f->cap * 2 : 256;
        struct recording *grown =
            cap <= FILES_MAX * 2 ? mem_resize(f->list, cap, sizeof *grown) : NULL;
        f->no_memory = grown == NULL;
        if (!grown)
            return SOTTO_NOMEM;
        f->list = grown;
        f->cap = cap;
    }
    f->list[f->count++] = r;
    return SOTTO_OK;
}

static int by_speaker(const void *a, const void *b) {
    const struct recording *p = a, *q = b;
    const int order = strcmp(p->speaker, q->speaker);
    if (order != 0)
        return order;
    return p->digit != q->digit ? (p->digit < q->digit ? -1 : 1)
                                : (p->index > q->index) - (p->index < q->index);
}

static bool is_part(const struct recording *r, bool test) {
    return (r->index <= TEST_LAST) == test;
}

static enum sotto_status read_recordings(const struct folder *f, const char *dir, bool test,
                                         struct dataset *out, struct sotto_error *err) {
    enum sotto_status status = SOTTO_OK;
    char path[IO_PATH_MAX];
    struct buf file;
    uint32_t at = 0, speakers = 0;
    buf_init(&file, WAV_MAX);
    for (uint32_t i = 0; i < f->count; i++) {
        struct view pcm;
        speakers += i == 0 || strcmp(f->list[i].speaker, f->list[i - 1].speaker) != 0;
        if (!is_part(&f->list[i], test))
            continue;
        TRY(io_join(path, sizeof path, dir, f->list[i].name, err));
        TRY(io_read_file(path, WAV_MAX, &file, err));
        TRY(data_parse_wav(buf_view(&file), path, &pcm, err));
        data_sound_picture(pcm, (uint8_t *)out->x + (size_t)at * SIDE * SIDE);
        out->labels[at] = (int32_t)f->list[i].digit;
        out->keys[at++] = speakers - 1;
    }
    out->key_count = speakers;
out:
    buf_deinit(&file);
    return status;
}

enum sotto_status dataset_read_fsdd(const char *dir, bool test, struct dataset *out,
                                    struct sotto_error *err) {
    struct folder f = {.list = NULL};
    enum sotto_status status;
    uint32_t count = 0;
    dataset_init(out);
    status = io_list(dir, take_name, &f, err);
    if (f.no_memory)
        (void)SOTTO_FAIL(err, SOTTO_NOMEM, "%s: too many recordings", data_shown(dir));
    TRY(status);
    if (f.count > 0)
        qsort(f.list, f.count, sizeof *f.list, by_speaker);
    for (uint32_t i = 0; i < f.count; i++)
        count += is_part(&f.list[i], test);
    TRY(dataset_alloc(out, &data_fsdd_schema, count, dir, err));
    out->keys = mem_array(count, sizeof *out->keys);
    if (!out->keys)
        TRY_FAIL(err, SOTTO_NOMEM, "%s: no memory", data_shown(dir));
    TRY(read_recordings(&f, dir, test, out, err));
out:
    mem_free(f.list);
    if (status != SOTTO_OK)
        dataset_deinit(out);
    return status;
}
