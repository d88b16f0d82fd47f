/* sotto-sim list: everything that an experiment can choose from, by the tables that choose. */
#include "list.h"

#include <stdio.h>
#include <string.h>

#include "experiment.h"
#include "sotto/zoo.h"

/* The rows whose path begins so, but for one. */
static void list_options(struct buf *out, const char *begin, const char *but) {
    for (const struct config_option *o = sim_options; o->path; o++) {
        if (strncmp(o->path, begin, strlen(begin)) != 0 || (but && strcmp(o->path, but) == 0))
            continue;
        buf_printf(out, "    %s = %s: %s", o->path, o->fallback ? o->fallback : "", o->help);
        for (size_t i = 0; o->names && o->names[i]; i++)
            buf_printf(out, "%s%s", i ? ", " : " One of ", o->names[i]);
        buf_printf(out, "%s\n", o->names ? "." : "");
    }
}

static void list_models(struct buf *out) {
    size_t count;
    char text[64];
    const struct zoo_entry *z = zoo_list(&count);
    buf_printf(out, "models (model.zoo)\n");
    for (size_t i = 0; i < count; i++)
        buf_printf(out, "  %-12s %9u parameters, %s; %s\n", z[i].name, z[i].params,
                   data_schema_text(&z[i].schema, text, sizeof text), z[i].summary);
}

static void list_partitions(struct buf *out) {
    size_t count;
    const struct partition_scheme *p = partition_schemes(&count);
    buf_printf(out, "partitions (partition.scheme)\n");
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "  %-12s %s\n", p[i].name, p[i].summary);
        for (size_t k = 0; p[i].options[k]; k++)
            if (strcmp(p[i].options[k]->name, "clients") != 0)
                buf_printf(out, "    partition.%s = %g: %s\n", p[i].options[k]->name,
                           p[i].options[k]->initial, p[i].options[k]->help);
    }
}

int list_command(struct cli *cli) {
    struct buf out;
    (void)cli;
    buf_init(&out, 1u << 20);
    list_models(&out);
    list_partitions(&out);
    buf_printf(&out, "server steps (server.strategy)\n");
    for (int i = 0; strategy_names[i]; i++)
        buf_printf(&out, "  %-12s %s\n", strategy_names[i], strategy_get(i)->summary);
    list_options(&out, "server.", "server.strategy");
    buf_printf(&out, "local training\n");
    list_options(&out, "local.", NULL);
    buf_printf(&out, "pipelines: what is sent down\n");
    list_options(&out, "downlink", NULL);
    buf_printf(&out, "pipelines: what is sent up\n");
    list_options(&out, "uplink.", NULL);
    buf_printf(&out, "data sets (data.name)\n"
                     "  generator    drawn handwritten digits, one writer a client; needs no file\n"
                     "  drawn        patterns under noise, in the shape that the model takes\n"
                     "  mnist, fashion-mnist, cifar10, fsdd, shakespeare    below --data DIR\n"
                     "  IMAGES,LABELS    two IDX files\n"
                     "  FILE.csv    numbers, the label last\n");
    fwrite(out.data, 1, out.len, stdout);
    buf_deinit(&out);
    return 0;
}
