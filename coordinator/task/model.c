/* The model that a task's settings name: architecture, schema, first weights. */
#include <string.h>

#include "sotto/coordinator/task.h"
#include "sotto/zoo.h"

enum sotto_status task_graph(const struct task_config *s, const char *origin, struct graph *graph,
                             struct data_schema *schema, float **params, struct sotto_error *err) {
    enum sotto_status status;
    struct package package;
    struct buf bytes;
    memset(&package, 0, sizeof package);
    buf_init(&bytes, PACKAGE_BYTES_MAX);
    bool from_package = s->model_package && s->model_package[0];
    bool from_yaml = s->model_yaml != NULL;
    *params = NULL;
    graph_init(graph);
    if (from_package) {
        TRY(io_read_file(s->model_package, PACKAGE_BYTES_MAX, &bytes, err));
        status = package_decode(buf_view(&bytes), &package, err);
        if (status != SOTTO_OK) {
            (void)sotto_error_prefix(err, "%s", s->model_package);
            goto out;
        }
    }
    if (from_yaml) {
        TRY(zoo_from_yaml(s->model_yaml, origin, graph, schema, err));
    } else if (s->model && s->model[0]) {
        TRY(zoo_build(s->model, graph, schema, err));
    } else if (from_package) {
        TRY(graph_copy(graph, &package.graph, err));
        *schema = package.schema;
    } else {
        TRY_FAIL(err, SOTTO_CONFIG, "%s: one of model.zoo, model.graph and model.package is needed",
                 origin);
    }
    if (from_package && !layout_equal(&graph->layout, &package.graph.layout))
        TRY_FAIL(err, SOTTO_CONFIG,
                 "%s: model.package %s has other tensors than the model; leave model.zoo out",
                 origin, s->model_package);
    *params = mem_array(graph->layout.total, sizeof **params);
    if (!*params)
        TRY_FAIL(err, SOTTO_NOMEM, "model: out of memory");
    if (from_package)
        memcpy(*params, package.params, graph->layout.total * sizeof **params);
    else
        graph_init_params_by(graph, (enum graph_init_law)s->init_law, s->init_gain, s->seed,
                             *params);
out:
    package_deinit(&package);
    buf_deinit(&bytes);
    if (status != SOTTO_OK) {
        graph_deinit(graph);
        graph_init(graph);
    }
    return status;
}
