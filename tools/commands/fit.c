/* grpoalign fit */
#include <math.h>

#include "commands/commands.h"
#include "commands/inverse.h"

static const char HELP[] =
    "usage: grpoalign fit [options] [FILE...]\n"
    "\n"
    "Reads what `grpoalign solve` reads, but for beta, and in each record the key observed: how "
    "often a trained policy gave\n"
    "each outcome, as counts or frequencies. Finds the beta under which that is the most likely, "
    "and writes beta, beta_se\n"
    "(its standard error, where the observed are counts), log_likelihood and what solve writes "
    "there. Where the likelihood\n"
    "grows towards an end of the range the status is unreachable.\n"
    "\n";

#define AT(member) .at = offsetof(inverse, member)

static const field FIELDS[] = {
    {"beta", FIELD_NUMBER, AT(beta)},
    {"beta_se", FIELD_NUMBER, AT(beta_se)},
    {"log_likelihood", FIELD_NUMBER, AT(log_likelihood)},
    {"log_likelihood_reference", FIELD_NUMBER, AT(log_likelihood_reference)},
    {"log_likelihood_most", FIELD_NUMBER, AT(log_likelihood_most)},
    {.name = NULL}};

static grpoalign_status fit(const context *c, result *r, grpoalign_fit_report *report,
                            grpoalign_error *error)
{
    problem p;
    grpoalign_solution *solution = NULL;
    grpoalign_status status = problem_open(&p, c, error);
    if (status >= 0) {
        const grpoalign_inverse_options how = problem_inverse_options(&p);
        status = grpoalign_fit(p.handle, c->observed, c->outcomes, &how, &solution, report, error);
    }
    if (status >= 0) {
        grpoalign_status taken = result_take(r, &p, solution, error);
        status = taken < 0 ? taken : status;
    }
    grpoalign_solution_free(solution);
    problem_close(&p);
    return status;
}

static void write_found(const context *c, const result *r, const grpoalign_fit_report *report,
                        grpoalign_status status, const reply *to)
{
    text line = {0};
    const inverse found = {.status = status,
                           .beta = report->beta,
                           .beta_se = report->beta_se,
                           .log_likelihood = report->log_likelihood,
                           .log_likelihood_reference = report->log_likelihood_reference,
                           .log_likelihood_most = report->log_likelihood_most};
    text_format(&line, "beta %.6g", found.beta);
    if (!isnan(found.beta_se)) {
        text_format(&line, " +- %.2g", found.beta_se);
    }
    text_format(&line, ", log likelihood %.6g (%.6g of the reference, at most %.6g)%s\n",
                found.log_likelihood, found.log_likelihood_reference, found.log_likelihood_most,
                status == GRPOALIGN_UNREACHABLE ? "; unreachable: the end of the range" : "");
    inverse_write(c, r, FIELDS, &found, line.bytes != NULL ? line.bytes : "", to);
    text_free(&line);
}

static int act(void *user, const context *c, const reply *to)
{
    grpoalign_error error;
    grpoalign_fit_report report = GRPOALIGN_FIT_REPORT_INIT;
    result r = {.contexts = 0};
    (void)user;
    if (inverse_refuses(c, "fit", to)) {
        return 0;
    }
    if (c->observed == NULL) {
        write_error(to, c->id, "contradiction",
                    "observed is missing: expected a count or frequency per outcome");
        return 0;
    }
    grpoalign_status status = fit(c, &r, &report, &error);
    if (status < 0) {
        write_library_error(to, c->id, status, error.message);
    } else {
        write_found(c, &r, &report, status, to);
    }
    result_free(&r);
    return status >= 0;
}

int command_fit(int argc, char **argv)
{
    static const action fit_action = {.command = "fit",
                                      .help = HELP,
                                      .prepare = inverse_prepare,
                                      .cost = inverse_cost,
                                      .act = act};
    return run_contexts(&fit_action, argc, argv);
}
