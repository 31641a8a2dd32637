/*
 * Structures with one answer in a closed form, or nearly so.
 *
 * Flat: all advantages are equal, and the policy is pi_ref.
 *
 * Ranked: u_c = scale * (mass below - mass above), classes ascending.
 *
 * With T the policy's mass above a class, u_c = scale (1 - 2 T - pi_c), so stationarity reads
 *
 *     slack_c = lambda - b (1 - 2 T) + b pi_c,    b = scale / beta,
 *
 * where the left side falls and the right side grows in pi_c: from the best class downwards each
 * class has exactly one answer, given lambda. For reverse KL lambda is 1 and the recursion is the
 * closed form of doc/theory.md, section 2.2. For other penalties the total mass falls strictly as
 * lambda grows: one unknown.
 */
#include "solver/solver.h"

#include <float.h>
#include <math.h>

#include "base/numeric.h"

typedef struct descent {
    const gra_problem *problem;
    gra_answer *answer;
    double slope;
    int32_t calls;
} descent;

static double descend(descent *self, double lambda)
{
    const gra_problem *problem = self->problem;
    const gra_class_reference *reference = &problem->reference;
    gra_sum above = {0.0, 0.0};
    self->calls++;
    for (int64_t c = reference->classes - 1; c >= 0; c--) {
        double lead = (2.0 * above.high - 1.0) + 2.0 * above.low;
        double base = lambda + self->slope * lead;
        double policy = problem->penalty->resolvent(problem->penalty, reference->mass[c],
                                                    reference->log_mass[c], base, self->slope);
        self->answer->policy[c] = policy;
        self->answer->slack[c] =
            policy >= DBL_MIN ? problem->penalty->slack_at(problem->penalty, reference->mass[c],
                                                           reference->log_mass[c], policy)
                              : base + self->slope * policy;
        gra_sum_add(&above, policy);
    }
    return gra_sum_value(above);
}

static double excess(void *context, double lambda)
{
    return descend(context, lambda) - 1.0;
}

grpoalign_status gra_solve_flat(const gra_problem *problem, gra_answer *answer)
{
    gra_answer_reference(problem, answer);
    return GRPOALIGN_OK;
}

grpoalign_status gra_solve_ranked(const gra_problem *problem, gra_answer *answer)
{
    descent run = {problem, answer, problem->structure->ranked_scale / problem->beta, 0};
    const gra_class_reference *reference = &problem->reference;
    double lambda = gra_total(reference->mass, reference->classes); /* where pi s = pi_ref */
    answer->method = GRPOALIGN_METHOD_CLOSED_FORM;
    if (!problem->penalty->complementary) {
        /* Slacks lie within b of lambda: above the even slack no class has more than its even
         * part, below it none has less. */
        double margin = 1e-9 * run.slope + 1e-12,
               even = gra_penalty_even_slack(problem->penalty, reference);
        double low = even - run.slope - margin, high = even + run.slope + margin;
        answer->method = GRPOALIGN_METHOD_SCALAR;
        lambda = gra_root(excess, &run, low, excess(&run, low), high, excess(&run, high));
    }
    (void)descend(&run, lambda);
    answer->iterations = run.calls;
    answer->unique = answer->stable = 1; /* a monotone game: doc/theory.md, section 3.2 */
    /* The recursion contracts its errors; what is left are a few roundings of numbers below 1, and
     * of slacks. */
    double moved = 0.0;
    for (int64_t c = 0; c < reference->classes; c++) {
        double p = answer->policy[c], slack = answer->slack[c];
        double q = p > 0.0 ? p * problem->penalty->log_slope(problem->penalty, slack) : 0.0;
        moved = fmax(moved, q * fabs(slack) / (1.0 + run.slope * q));
    }
    answer->policy_error = fmin(1.0, DBL_EPSILON * (8.0 + 4.0 * moved));
    return GRPOALIGN_OK;
}
