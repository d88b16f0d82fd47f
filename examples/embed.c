/* A small app that embeds libsotto-client: it learns from what its user does, on the device, and
 * predicts with the fleet's model.
 *
 *   cc examples/embed.c $(pkg-config --cflags --libs sotto-client) -o embed
 *   ./embed STATE-FOLDER TOKEN [SECONDS]
 *
 * The app's "examples" here are small drawn images: a bright bar whose place is the label. */
#include <sotto/client.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIDE    28
#define CLASSES 10

static void draw(unsigned label, unsigned seed, unsigned char image[SIDE * SIDE]) {
    memset(image, 0, SIDE * SIDE);
    for (unsigned y = 2 + seed % 3; y < SIDE - 2; y++)
        for (unsigned x = 0; x < 3; x++)
            image[y * SIDE + 2 * label + 2 + x] = (unsigned char)(150 + (seed * 37 + y * 11) % 100);
}

static void show(void *ctx, const char *line) {
    (void)ctx;
    fprintf(stderr, "sotto: %s\n", line);
}

/* Prints the reason of a call that failed, and passes its result on. */
static int check(sotto_client *c, const char *what, int result) {
    if (result != 0)
        fprintf(stderr, "%s: %s\n", what, sotto_client_error(c));
    return result;
}

/* What the user did since the last start becomes examples; many in one transaction. */
static int add_examples(sotto_client *c) {
    const uint32_t dims[3] = {SIDE, SIDE, 1};
    unsigned char image[SIDE * SIDE];
    if (check(c, "collection",
              sotto_client_collection(c, "digits", 0, 3, dims, CLASSES, 1.0f / 255, 0)))
        return 1;
    if (sotto_client_example_count(c, "digits") >= 100)
        return 0;
    if (check(c, "begin", sotto_client_begin(c)))
        return 1;
    for (unsigned i = 0; i < 100; i++) {
        draw(i % CLASSES, i, image);
        if (check(
                c, "example",
                sotto_client_add_example(c, "digits", image, sizeof image, (int32_t)(i % CLASSES))))
            return 1;
    }
    return check(c, "commit", sotto_client_commit(c));
}

static void predict(sotto_client *c) {
    unsigned char image[SIDE * SIDE];
    float p[CLASSES];
    draw(3, 1, image);
    if (sotto_client_predict(c, "digits", image, sizeof image, p, CLASSES) != 0) {
        printf("no model yet: %s\n", sotto_client_error(c));
        return;
    }
    unsigned best = 0;
    for (unsigned k = 1; k < CLASSES; k++)
        if (p[k] > p[best])
            best = k;
    printf("the model says %u (%.0f%%)\n", best, 100 * (double)p[best]);
}

int main(int argc, char **argv) {
    char message[256];
    sotto_client *c = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: %s STATE-FOLDER TOKEN [SECONDS]\n", argv[0]);
        return 2;
    }
    const sotto_client_config config = {.size = sizeof config, .state_dir = argv[1], .log = show};
    if (sotto_client_open(&config, &c, message) != 0) {
        fprintf(stderr, "%s\n", message);
        return 1;
    }
    int failed = add_examples(c);
    if (!failed && !sotto_client_enrolled(c))
        failed = check(c, "enroll", sotto_client_enroll(c, argv[2]));
    /* An app calls poll from its own loop, and says what it knows of the device. */
    const time_t end = time(NULL) + (argc > 3 ? strtol(argv[3], NULL, 10) : 60);
    sotto_client_state state = {.size = sizeof state};
    while (!failed && time(NULL) < end) {
        const sotto_client_conditions now = {.charging = true,
                                             .idle = true,
                                             .unmetered = true,
                                             .online = true,
                                             .battery_percent = 80};
        sotto_client_conditions_set(c, &now);
        if (sotto_client_poll(c, 200) != 0)
            fprintf(stderr, "poll: %s\n", sotto_client_error(c)); /* it goes on by itself */
        sotto_client_state_get(c, &state);
    }
    printf("%u reports acknowledged\n", state.rounds_done);
    predict(c);
    sotto_client_close(c);
    return failed;
}
