#include "problem/problem.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

int gra_reference_of_classes(const grpoalign_reference *reference, const gra_structure *structure,
                             gra_class_reference *out, double *share, gra_arena *arena)
{
    /* Sums in logarithms, so that masses below the doubles are right too. */
    int64_t classes = structure->classes;
    double *mass = gra_arena_doubles(arena, classes), *low = gra_arena_doubles(arena, classes);
    double *log_mass = gra_arena_doubles(arena, classes), *top = gra_arena_doubles(arena, classes);
    if (mass == NULL || low == NULL || log_mass == NULL || top == NULL) {
        return 0;
    }
    for (int64_t c = 0; c < classes; c++) {
        mass[c] = low[c] = 0.0;
        top[c] = -INFINITY;
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0) {
            top[c] = fmax(top[c], reference->logarithm[o]);
        }
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0) {
            gra_sum sum = {mass[c], low[c]};
            gra_sum_add(&sum, exp(reference->logarithm[o] - top[c]));
            mass[c] = sum.high;
            low[c] = sum.low;
        }
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        share[o] = c >= 0 ? exp(reference->logarithm[o] - top[c]) / (mass[c] + low[c]) : 0.0;
    }
    for (int64_t c = 0; c < classes; c++) {
        log_mass[c] = top[c] + log(mass[c] + low[c]);
    }
    /* Where the probabilities are ordinary doubles their sum is more exact than the exponential of
     * a logarithm. */
    memset(mass, 0, (size_t)classes * sizeof(double));
    memset(low, 0, (size_t)classes * sizeof(double));
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0) {
            gra_sum sum = {mass[c], low[c]};
            gra_sum_add(&sum, reference->probability[o]);
            mass[c] = sum.high;
            low[c] = sum.low;
        }
    }
    for (int64_t c = 0; c < classes; c++) {
        mass[c] += low[c];
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        int64_t c = structure->class_of[o];
        if (c >= 0 && mass[c] > GRA_LEAST_MASS) {
            share[o] = reference->probability[o] / mass[c];
        }
    }
    for (int64_t c = 0; c < classes; c++) {
        log_mass[c] = mass[c] > GRA_LEAST_MASS ? log(mass[c]) : log_mass[c];
        mass[c] = fmax(mass[c], GRA_LEAST_MASS);
    }
    out->classes = classes;
    out->mass = mass;
    out->log_mass = log_mass;
    return 1;
}

/* The supported outcomes, packed. */
static int list_outcomes(const grpoalign_model *model, const grpoalign_reference *reference,
                         const double *shares, gra_outcomes *out, gra_arena *arena)
{
    int64_t kept = 0;
    int64_t *at = gra_arena_take(arena, reference->supported, sizeof *at);
    double *log_mass = gra_arena_doubles(arena, reference->supported);
    double *share = gra_arena_doubles(arena, reference->supported);
    if (at == NULL || log_mass == NULL || share == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < reference->outcomes; o++) {
        if (reference->support[o]) {
            at[kept] = o;
            log_mass[kept] = reference->logarithm[o];
            share[kept++] = shares[o];
        }
    }
    *out = (gra_outcomes){model, kept, at, log_mass, share};
    return 1;
}

/* The logarithms as the penalty's slacks can have them. 0 on short memory. */
static int raise_logarithms(const gra_penalty *law, gra_class_reference *reference,
                            gra_arena *arena)
{
    int64_t n = reference->classes;
    if (!(gra_min(reference->log_mass, n) < law->rarest)) {
        return 1;
    }
    double *raised = gra_arena_doubles(arena, n);
    for (int64_t c = 0; raised != NULL && c < n; c++) {
        raised[c] = fmax(reference->log_mass[c], law->rarest);
    }
    reference->log_mass = raised;
    return raised != NULL;
}

/* A penalty per token sees every outcome by itself. */
static grpoalign_status part_all(const grpoalign_reference *reference, gra_reduction *out,
                                 gra_arena *arena, grpoalign_error *error)
{
    int64_t n = reference->outcomes, next = 0,
            *class_of = gra_arena_take(arena, n, sizeof *class_of);
    if (class_of == NULL) {
        return gra_fail_memory(error);
    }
    for (int64_t o = 0; o < n; o++) {
        class_of[o] = reference->support[o] ? next++ : -1;
    }
    out->structure = (gra_structure){.kind = GRA_GAME, .classes = next, .class_of = class_of};
    return GRPOALIGN_OK;
}

static int grow_tree(const gra_penalty *law, gra_reduction *out, gra_arena *arena)
{
    gra_tree *tree = gra_arena_take(arena, 1, sizeof *tree);
    out->tree = tree;
    return tree != NULL && gra_tree_build(law->completions, out->outcomes.count, out->outcomes.at,
                                          out->outcomes.log_mass, tree, arena);
}

grpoalign_status gra_reduce(const grpoalign_model *model, const grpoalign_reference *reference,
                            const gra_penalty *law, gra_reduction *out, gra_arena *arena,
                            grpoalign_error *error)
{
    memset(out, 0, sizeof *out);
    GRA_TRY(law->completions != NULL
                ? part_all(reference, out, arena, error)
                : model->ops->structure(model, reference->support, &out->structure, arena, error));
    out->share = gra_arena_doubles(arena, model->outcomes);
    if (out->share == NULL ||
        !gra_reference_of_classes(reference, &out->structure, &out->reference, out->share, arena) ||
        !list_outcomes(model, reference, out->share, &out->outcomes, arena)) {
        return gra_fail_memory(error);
    }
    out->log_mass = out->reference.log_mass;
    if (!raise_logarithms(law, &out->reference, arena) ||
        (law->completions != NULL && !grow_tree(law, out, arena))) {
        return gra_fail_memory(error);
    }
    return GRPOALIGN_OK;
}
