/* The gate: a version that is not finite, or that falls behind the best published one, stays
 * unpublished. */
#include "advance/advance_int.h"

#include <math.h>
#include <stdio.h>

bool gate_passes(const struct task_config *t, const struct candidate *c, double best_loss,
                 double best_accuracy, char *reason, size_t cap) {
    if (!c->finite) {
        snprintf(reason, cap, "its weights are not finite");
        return false;
    }
    if (!c->validated || isnan(c->validation_accuracy))
        return true; /* no data to judge by */
    if (!isfinite(c->validation_loss)) {
        snprintf(reason, cap, "its validation loss is not finite");
        return false;
    }
    if (t->gate_loss_factor > 0.0 && !isnan(best_loss) &&
        c->validation_loss > best_loss * t->gate_loss_factor) {
        snprintf(reason, cap, "validation loss %.4g passes %.4g times the best one, %.4g",
                 c->validation_loss, t->gate_loss_factor, best_loss);
        return false;
    }
    if (t->gate_accuracy_drop > 0.0 && !isnan(best_accuracy) &&
        c->validation_accuracy < best_accuracy - t->gate_accuracy_drop) {
        snprintf(reason, cap, "validation accuracy %.4f is more than %.4g below the best one, %.4f",
                 c->validation_accuracy, t->gate_accuracy_drop, best_accuracy);
        return false;
    }
    return true;
}
