/* Inside the control socket: the table of commands. */
#ifndef SOTTO_COORDINATOR_CONTROL_INT_H
#define SOTTO_COORDINATOR_CONTROL_INT_H

#include "daemon/daemon_int.h"

/* Writes the answer (a table, JSON with r->json, or raw bytes) to out. */
typedef enum sotto_status control_run(struct coordinator *c, const struct control_request *r,
                                      struct buf *out, struct sotto_error *err);
struct control_command {
    const char *name;
    uint32_t args_min;
    control_run *run;
    bool text; /* answers with a sentence, which becomes {"message": ...} where JSON is asked for */
};
/* Reads a request. Arguments are copied to text (emptied by the caller, with a cap), so that each
 * is followed by a terminator; r points into it. CORRUPT, LIMIT, NOMEM. */
enum sotto_status control_parse(struct view bytes, struct buf *text, struct control_request *r,
                                struct sotto_error *err);

control_run control_status, control_devices, control_revoke, control_serials, control_tickets,
    control_document, control_document_request, control_document_import, control_task_create,
    control_task_list, control_task_yaml, control_task_show, control_task_pause,
    control_task_resume, control_task_stop, control_rounds_list, control_rounds_watch,
    control_rounds_csv, control_rounds_show, control_models_list, control_models_show,
    control_models_package, control_models_rollback, control_models_release, control_events,
    control_backup;

/* What a listing's visitor writes to. */
struct listing {
    struct coordinator *c;
    const struct control_request *r;
    struct buf *out;
    struct json j;
    double params;
    uint32_t rows;
    bool yaml;      /* of task show: with the settings */
    uint64_t until; /* of events: the last id shown; 0: no limit */
};

/* Of a masked round, session by session: {"secure_groups": [...]}, or lines. */
enum sotto_status control_secure_json(struct coordinator *c, const struct store_round *round,
                                      struct json *j, struct sotto_error *err);
enum sotto_status control_secure_text(struct coordinator *c, const struct store_round *round,
                                      struct buf *out, struct sotto_error *err);
/* "2026-03-01 12:00:05" in UTC; "-" for 0. */
const char *control_time(int64_t ms, char out[24]);
/* "0.9731", "-" for NAN. */
const char *control_number(double v, char out[24]);
enum sotto_status control_task_row(struct coordinator *c, const char *name, struct store_task *out,
                                   struct sotto_error *err);

#endif
