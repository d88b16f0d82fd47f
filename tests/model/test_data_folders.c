/* Tests of data sets that are folders: spoken digits and plays, made here, and the real ones when
 * they are at hand. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/data_private.h"
#include "support.h"

#define PICTURE 1024

/* A tone of so many samples. */
static void wav(struct buf *b, uint32_t samples, double hz) {
    buf_reset(b);
    buf_put(b, "RIFF", 4);
    buf_put_u32(b, 36 + 2 * samples);
    buf_put(b, "WAVEfmt ", 8);
    buf_put_u32(b, 16);
    buf_put_u16(b, 1);
    buf_put_u16(b, 1);
    buf_put_u32(b, 8000);
    buf_put_u32(b, 16000);
    buf_put_u16(b, 2);
    buf_put_u16(b, 16);
    buf_put(b, "data", 4);
    buf_put_u32(b, 2 * samples);
    for (uint32_t i = 0; i < samples; i++)
        buf_put_u16(b, (uint16_t)(int16_t)(20000 * sin(6.283185307179586 * hz * i / 8000)));
}

static void write_wav(const char *name, double hz) {
    struct sotto_error err = SOTTO_ERROR_INIT;
    char path[600];
    struct buf b;
    buf_init(&b, 1 << 20);
    wav(&b, 2000, hz);
    snprintf(path, sizeof path, "%s/%s", test_path("recordings"), name);
    ASSERT_OK(io_write_file(path, b.data, b.len, 0600, false, &err));
    buf_deinit(&b);
}

static uint32_t loudest_band(const uint8_t *picture) {
    uint32_t best = 0;
    for (uint32_t k = 1; k < 32; k++)
        if (picture[16 * 32 + k] > picture[16 * 32 + best])
            best = k;
    return best;
}

static void spoken_digits(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d;
    char dir[512];
    snprintf(dir, sizeof dir, "%s", test_path("recordings"));
    ASSERT_OK(io_mkdir_p(dir, 0700, &err));
    write_wav("3_zoe_5.wav", 2000);
    write_wav("3_zoe_4.wav", 200);
    write_wav("7_al_b_12.wav", 200);
    write_wav("1_al_b_99.wav", 1000);
    write_wav("notes_1.wav", 1);
    write_wav("3_zoe_x.wav", 1);
    ASSERT_OK(dataset_read_fsdd(dir, false, &d, &err));
    assert_int_equal(d.count, 3);
    assert_int_equal(d.key_count, 2);
    assert_true(d.labels[0] == 1 && d.labels[1] == 7 && d.labels[2] == 3);
    assert_true(d.keys[0] == 0 && d.keys[1] == 0 && d.keys[2] == 1);
    const uint8_t *x = d.x;
    assert_true(loudest_band(x + PICTURE) < loudest_band(x));
    assert_true(loudest_band(x) < loudest_band(x + 2 * PICTURE));
    assert_int_equal(x[16 * 32 + loudest_band(x)], 255);
    dataset_deinit(&d);
    ASSERT_OK(dataset_read_fsdd(dir, true, &d, &err));
    assert_int_equal(d.count, 1);
    assert_true(d.labels[0] == 3 && d.keys[0] == 1);
    dataset_deinit(&d);
    write_wav("3_zoe_4.wav", 300);
    ASSERT_OK(io_write_file(test_path("recordings/3_zoe_4.wav"), "RIFF", 4, 0600, false, &err));
    ASSERT_FAILS(dataset_read_fsdd(dir, true, &d, &err), SOTTO_CORRUPT, "not a WAVE");
    assert_null(d.x);
}

/* Every cut of a file and every wrong header field is refused. */
static void bad_sound(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    static const size_t fields[] = {0, 8, 20, 22, 24, 34, 36};
    struct buf b;
    struct view pcm;
    buf_init(&b, 1 << 20);
    wav(&b, 300, 440);
    ASSERT_OK(data_parse_wav(buf_view(&b), "x.wav", &pcm, &err));
    assert_int_equal(pcm.n, 600);
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(data_parse_wav(view_of(b.data, n), "x.wav", &pcm, &err), SOTTO_OK);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        b.data[fields[i]] ^= 0x55;
        assert_int_not_equal(data_parse_wav(buf_view(&b), "x.wav", &pcm, &err), SOTTO_OK);
        b.data[fields[i]] ^= 0x55;
    }
    wav(&b, 255, 440);
    ASSERT_FAILS(data_parse_wav(buf_view(&b), "x.wav", &pcm, &err), SOTTO_CORRUPT, "shorter");
    buf_deinit(&b);
}

static const char play[] =
    "<A NAME=1.0.1>A prologue that nobody speaks, and so nobody has.</A>\n"
    "<A NAME=speech1><b>HAMLET</b></a><blockquote>\n"
    "<A NAME=1.1.1>To be, or not to be</A><br>\n"
    "<a name=\"1.1.2\">that <i>is</i> it</a>\n"
    "<A NAME=speech2><b> GHOST </b></a><A NAME=1.1.3>Boo</A>\n"
    "<A NAME=speech3><b>HAMLET</b></a><A NAME=1.1.4>0123456789 and {more}</A>\n";

static char letter_at(const struct dataset *d, uint32_t example, uint32_t place) {
    static const char letters[] =
        "\n\t !$&',-.0123456789:;?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz";
    const uint8_t *x = dataset_example(d, example);
    char found = 0;
    if (place == 8)
        return letters[d->labels[example]];
    for (uint32_t k = 0; k < 77; k++)
        if (x[place * 77 + k]) {
            assert_int_equal(x[place * 77 + k], 1);
            assert_int_equal(found, 0);
            found = letters[k];
        }
    return found;
}

static void plays(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct dataset d, t;
    const struct view text = view_of(play, sizeof play - 1);
    /* The blanks stand for letters that are not in the alphabet. */
    static const char hamlet[] = "To be, or not to be\nthat is it\n0123456789 and  more \n";
    ASSERT_OK(data_parse_play(text, "play.html", false, &d, &err));
    ASSERT_OK(data_parse_play(text, "play.html", true, &t, &err));
    assert_int_equal(d.key_count, 1); /* the ghost says too little */
    assert_int_equal(d.count, 5);
    assert_int_equal(t.count, 1);
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t k = 0; k <= 8; k++)
            assert_int_equal(letter_at(i < 5 ? &d : &t, i < 5 ? i : 0, k), hamlet[8 * i + k]);
    dataset_deinit(&d);
    dataset_deinit(&t);
    ASSERT_FAILS(data_parse_play(view_of("x", 1), "play.html", false, &d, &err), SOTTO_INVALID,
                 "no examples");
    for (size_t n = 0; n < text.n; n++) /* a cut play is a shorter one, or none */
        if (data_parse_play(view_of(play, n), "play.html", false, &d, &err) == SOTTO_OK)
            dataset_deinit(&d);
}

static void real_ones(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const char *dir = test_data();
    char path[600];
    struct dataset d;
    if (!dir) {
        print_message("no SOTTO_DATA\n");
        return;
    }
    snprintf(path, sizeof path, "%s/fsdd", dir);
    if (io_exists(path)) {
        ASSERT_OK(dataset_read_named("fsdd", dir, true, &d, &err));
        assert_int_equal(d.count, 300);
        assert_int_equal(d.key_count, 6);
        dataset_deinit(&d);
    }
    snprintf(path, sizeof path, "%s/shakespeare", dir);
    if (io_exists(path)) {
        ASSERT_OK(dataset_read_named("shakespeare", dir, true, &d, &err));
        print_message("%u roles, %u test examples\n", d.key_count, d.count);
        /* 1,347 roles speak (every numbered line goes to the last speaker before it); a few of them
         * fewer than nine characters. */
        assert_in_range(d.key_count, 1330, 1347);
        dataset_deinit(&d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(spoken_digits), cmocka_unit_test(bad_sound),
                                       cmocka_unit_test(plays), cmocka_unit_test(real_ones)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
