/* Tests of the SVG plots: well-formed whatever texts and values come, escaped, with round ticks. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plot.h"
#include "plot_int.h"

/* A strict reading of the XML that we write: tags nest, attributes are quoted, no stray < or &,
 * only allowed bytes. */
static void check_xml(const struct buf *b) {
    const char *stack[16];
    size_t lengths[16], depth = 0, i = 0;
    const char *p = (const char *)b->data;
    while (i < b->len) {
        unsigned char c = (unsigned char)p[i];
        if (c != '<') {
            assert_true(c >= 0x20 || c == '\n');
            if (c == '&') {
                static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
                size_t found = 0;
                for (size_t k = 0; k < 4; k++)
                    found += strncmp(p + i, known[k], strlen(known[k])) == 0;
                assert_int_equal(found, 1);
            }
            i++;
            continue;
        }
        size_t end = i + 1;
        bool quoted = false;
        for (; end < b->len && (quoted || p[end] != '>'); end++) {
            quoted ^= p[end] == '"';
            assert_true(p[end] != '<');
        }
        assert_true(end < b->len);
        if (p[i + 1] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_int_equal(end - i - 2, lengths[depth]);
            assert_memory_equal(p + i + 2, stack[depth], lengths[depth]);
        } else if (p[end - 1] != '/') {
            assert_true(depth < 16);
            stack[depth] = p + i + 1;
            lengths[depth++] = strcspn(p + i + 1, " >");
        }
        i = end + 1;
    }
    assert_int_equal(depth, 0);
}

static bool contains(const struct buf *b, const char *part) {
    return memmem(b->data, b->len, part, strlen(part)) != NULL;
}

static const double xs[5] = {1, 2, 3, 4, 5}, ys[5] = {0.1, 0.5, 0.7, 0.8, 0.85};

static struct plot sample(const struct plot_series *s, size_t count) {
    return (struct plot){.title = "Accuracy",
                         .x = {.label = "round"},
                         .y = {.label = "accuracy", .unit = PLOT_PERCENT},
                         .series = s,
                         .series_count = count};
}

static void draws_what_is_asked(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    const double low[5] = {0, 0.4, 0.6, 0.7, 0.75}, high[5] = {0.2, 0.6, 0.8, 0.9, 0.95};
    struct plot_series s[2] = {{"plain", xs, ys, NULL, NULL, 5}, {"banded", xs, ys, low, high, 5}};
    struct plot_mark marks[2] = {{false, 3, "restart"}, {true, 0.9, "target"}};
    struct plot p = sample(s, 2);
    p.marks = marks;
    p.mark_count = 2;
    p.subtitle = "two lines";
    struct buf out;
    buf_init(&out, 1 << 20);
    ASSERT_OK(plot_svg(&p, &out, &err));
    check_xml(&out);
    static const char *const parts[] = {
        ">Accuracy<", ">two lines<", ">plain<",        ">banded<",
        ">restart<",  ">target<",    ">round<",        ">100%<",
        ">0%<",       ">85.0%<",     "class=\"b f1\"", "prefers-color-scheme:dark"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        assert_true(contains(&out, parts[i]));
    static const char *const never[] = {"<script", "href", "url(", "nan", "inf"};
    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        assert_false(contains(&out, never[i]));
    struct buf again;
    buf_init(&again, 1 << 20);
    ASSERT_OK(plot_svg(&p, &again, &err));
    assert_int_equal(again.len, out.len);
    assert_memory_equal(again.data, out.data, out.len);
    buf_deinit(&again);
    buf_deinit(&out);
}

static void texts_are_escaped(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    static const char *const texts[] = {
        "</svg><script>alert(1)</script>",
        "a & b \"quoted\" 'single' ]]>",
        "\x01\x02\x7f tab\tline\nreturn\r",
        "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
        "\xc3 cut \xe2\x82 \xf0\x9f\x98 \xff \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xef\xbf\xbf",
        "",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct plot_series s = {texts[i], xs, ys, NULL, NULL, 5};
        struct plot_mark mark = {false, 2, texts[i]};
        struct plot p = sample(&s, 1);
        p.title = p.subtitle = p.x.label = p.y.label = texts[i];
        p.marks = &mark;
        p.mark_count = 1;
        struct buf out;
        buf_init(&out, 1 << 20);
        ASSERT_OK(plot_svg(&p, &out, &err));
        check_xml(&out);
        assert_false(contains(&out, "<script"));
        assert_true(contains(&out, "\xef\xbf\xbd") == (i == 2 || i == 4));
        if (i == 3)
            assert_true(contains(&out, texts[3]));
        buf_deinit(&out);
    }
}

/* Any doubles make a well-formed picture or a refusal, on every kind of axis. */
static void values_may_be_anything(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct rng r;
    rng_init(&r, test_seed(), 0, 0, RNG_FAULT);
    static const double odd[] = {0,     -0.0,  1,     -1,   1e-320,    1e300, -1e300,
                                 NAN,   1e100, -1e99, 1e-9, 1 + 1e-15, 1e17,  (double)INFINITY,
                                 3.5e9, 0.97};
    uint32_t drawn = 0;
    for (int trial = 0; trial < 3000; trial++) {
        double x[6], y[6], low[6], high[6];
        for (int i = 0; i < 6; i++) {
            x[i] = odd[rng_below(&r, ARRAY_LEN(odd))];
            y[i] = odd[rng_below(&r, ARRAY_LEN(odd))];
            low[i] = odd[rng_below(&r, ARRAY_LEN(odd))];
            high[i] = odd[rng_below(&r, ARRAY_LEN(odd))];
        }
        struct plot_series s[2] = {{"a", x, y, low, high, 6}, {NULL, y, x, NULL, NULL, 1}};
        struct plot_mark mark = {rng_below(&r, 2) == 0, odd[rng_below(&r, ARRAY_LEN(odd))], "m"};
        struct plot p = sample(s, rng_below(&r, 3));
        p.x.unit = (enum plot_unit)rng_below(&r, 4);
        p.y.unit = (enum plot_unit)rng_below(&r, 4);
        p.x.log = rng_below(&r, 2) == 0;
        p.y.log = rng_below(&r, 2) == 0;
        p.x.fixed = rng_below(&r, 4) == 0;
        p.x.min = odd[rng_below(&r, ARRAY_LEN(odd))];
        p.x.max = odd[rng_below(&r, ARRAY_LEN(odd))];
        p.marks = &mark;
        p.mark_count = rng_below(&r, 2);
        p.width = rng_below(&r, 2) ? 200 : 4096;
        struct buf out;
        buf_init(&out, 1 << 20);
        enum sotto_status status = plot_svg(&p, &out, &err);
        if (status == SOTTO_OK) {
            drawn++;
            check_xml(&out);
            assert_false(contains(&out, "nan") || contains(&out, "inf"));
        } else {
            assert_int_equal(status, SOTTO_INVALID);
        }
        buf_deinit(&out);
    }
    assert_true(drawn > 1000);
}

static void ticks_are_round(void **state) {
    (void)state;
    static const struct {
        struct plot_axis axis;
        double low, high;
        const char *labels;
    } cases[] = {
        {{.unit = PLOT_NUMBER}, 0, 24, "0 5 10 15 20 25"},
        {{.unit = PLOT_NUMBER}, 0.013, 0.047, "0.01 0.02 0.03 0.04 0.05"},
        {{.unit = PLOT_NUMBER}, -3, 3, "-4 -2 0 2 4"},
        {{.unit = PLOT_NUMBER}, 0, 1663370, "0.0M 0.5M 1.0M 1.5M 2.0M"},
        {{.unit = PLOT_NUMBER}, 7, 7, "2 4 6 8 10 12"},
        {{.unit = PLOT_NUMBER}, 0, 0, "0.0 0.2 0.4 0.6 0.8 1.0"},
        {{.unit = PLOT_PERCENT}, 0.1, 0.98, "0% 20% 40% 60% 80% 100%"},
        {{.unit = PLOT_BYTES}, 0, 1.33e9, "0.0 GB 0.5 GB 1.0 GB 1.5 GB"},
        {{.unit = PLOT_SECONDS}, 0, 3000, "0 min 10 min 20 min 30 min 40 min 50 min"},
        {{.unit = PLOT_SECONDS}, 0, 20000, "0 h 2 h 4 h 6 h"},
        {{.unit = PLOT_BYTES, .log = true}, 3e4, 5e8, "10 kB 100 kB 1 MB 10 MB 100 MB 1 GB"},
        {{.unit = PLOT_NUMBER, .log = true}, 2, 40, "1 2 5 10 20 50 100"},
    };
    struct sotto_error err = SOTTO_ERROR_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct plot_scale s;
        char all[256] = "", one[PLOT_LABEL_MAX];
        size_t used = 0;
        ASSERT_OK(plot_scale_fit(&s, &cases[i].axis, cases[i].low, cases[i].high, 5, true, &err));
        for (size_t k = 0; k < s.tick_count && used < sizeof all; k++)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", k ? " " : "",
                                     plot_scale_text(&s, s.ticks[k], 0, one));
        assert_string_equal(all, cases[i].labels);
        s.from = 100, s.to = 200;
        assert_true(fabs(plot_scale_at(&s, s.min) - 100) < 1e-9);
        assert_true(fabs(plot_scale_at(&s, s.max) - 200) < 1e-9);
    }
}

static void refusals(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct plot_series s = {"a", xs, ys, NULL, NULL, 5};
    struct buf out;
    buf_init(&out, 1000);
    struct plot p = sample(&s, 1);
    ASSERT_FAILS(plot_svg(&p, &out, &err), SOTTO_LIMIT, "does not fit into 1000 bytes");
    buf_reset(&out);
    p.series_count = 0;
    ASSERT_FAILS(plot_svg(&p, &out, &err), SOTTO_INVALID, "there is no point to draw");
    p.series_count = 65;
    ASSERT_FAILS(plot_svg(&p, &out, &err), SOTTO_LIMIT, "at most 64");
    p = sample(&s, 1);
    p.width = 100;
    ASSERT_FAILS(plot_svg(&p, &out, &err), SOTTO_LIMIT, "200 to 4096");
    p = sample(&s, 1);
    p.y.fixed = true;
    ASSERT_FAILS(plot_svg(&p, &out, &err), SOTTO_INVALID, "has no room");
    struct plot_series many[40];
    for (int i = 0; i < 40; i++)
        many[i] =
            (struct plot_series){"a name that fills a row of the legend all by itself, as long "
                                 "names do in small pictures",
                                 xs,
                                 ys,
                                 NULL,
                                 NULL,
                                 5};
    p = sample(many, 40);
    ASSERT_FAILS(plot_svg(&p, &out, &err), SOTTO_LIMIT, "too low for 40 legend entries");
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
}

static void writes_a_file(void **state) {
    (void)state;
    struct sotto_error err = SOTTO_ERROR_INIT;
    struct plot_series s = {"a", xs, ys, NULL, NULL, 5};
    struct plot p = sample(&s, 1);
    ASSERT_OK(plot_write(&p, test_path("x.svg"), &err));
    struct buf in;
    buf_init(&in, 1 << 20);
    ASSERT_OK(io_read_file(test_path("x.svg"), 1 << 20, &in, &err));
    check_xml(&in);
    buf_deinit(&in);
    assert_true(plot_write(&p, test_path("missing/x.svg"), &err) != SOTTO_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_what_is_asked),
        cmocka_unit_test(texts_are_escaped),
        cmocka_unit_test(values_may_be_anything),
        cmocka_unit_test(ticks_are_round),
        cmocka_unit_test(refusals),
        cmocka_unit_test(writes_a_file),
    };
    return cmocka_run_group_tests_name("sim/plot", tests, NULL, NULL);
}
