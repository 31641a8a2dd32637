#include "commands/inverse.h"

#include <math.h>

#include "commands/cost.h"
#include "commands/extras.h"

/* Any beta fills the place of the one that is looked for; NaN stands for one that was given. */
void inverse_prepare(void *user, settings *self)
{
    (void)user;
    if (self->penalty != GRPOALIGN_PENALTY_SUM) { /* whose coefficients keep their ratio */
        setting_give(self, SETTING_BETA, is_given(self, SETTING_BETA) ? NAN : 1.0);
    }
}

int inverse_refuses(const context *c, const char *command, const reply *to)
{
    if (!isnan(c->settings.beta)) {
        return 0;
    }
    write_error(to, c->id, "contradiction", "beta is what %s looks for: expected none", command);
    return 1;
}

/* A walk takes some dozens of solutions, each from the one before. */
static const double WALK = 30.0;

double inverse_cost(void *user, const context *c)
{
    (void)user;
    return WALK * cost_of_solving(c);
}

void inverse_write(const context *c, const result *r, const field *fields, const inverse *found,
                   const char *line, const reply *to)
{
    if (to->how->format == FORMAT_TABLE) {
        context at = *c;
        at.settings.beta = found->beta;
        text_string(to->out, line);
        solution_table(&at, r, to->out);
        return;
    }
    json_start(to->out, c->id, grpoalign_status_name(found->status));
    json_fields(to->out, CONTEXT_LABELS, c, c->outcomes);
    json_fields(to->out, fields, found, c->outcomes);
    json_result(to->out, r, c->outcomes);
    json_extras(to->out, c, r);
    text_string(to->out, "}\n");
}
