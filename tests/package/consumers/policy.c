/* What a user would write first; prints the policy. */
#include <stdio.h>

#include <grpoalign/grpoalign.h>

int main(void)
{
    const double rewards[3] = {0.0, 0.5, 1.0}, before[3] = {0.6, 0.3, 0.1};
    double after[3] = {0.0, 0.0, 0.0};
    grpoalign_model *model = NULL;
    grpoalign_penalty *penalty = NULL;
    grpoalign_reference *reference = NULL;
    grpoalign_problem *problem = NULL;
    grpoalign_solution *solution = NULL;
    grpoalign_error error;
    int failed = grpoalign_model_new_group(rewards, 3, 8, NULL, &model, &error) < 0 ||
                 grpoalign_penalty_new(GRPOALIGN_PENALTY_REVERSE_KL, NULL, &penalty, &error) < 0 ||
                 grpoalign_reference_new(before, 3, NULL, &reference, &error) < 0 ||
                 grpoalign_problem_new(model, penalty, reference, NULL, &problem, &error) < 0 ||
                 grpoalign_solve(problem, 0.5, NULL, &solution, &error) < 0 ||
                 grpoalign_solution_policy(solution, after, 3, &error) < 0;
    if (failed) {
        printf("%s\n", error.message);
    } else {
        printf("policy: %.9f %.9f %.9f\n", after[0], after[1], after[2]);
    }
    grpoalign_solution_free(solution);
    grpoalign_problem_free(problem);
    grpoalign_reference_free(reference);
    grpoalign_penalty_free(penalty);
    grpoalign_model_free(model);
    return failed;
}
