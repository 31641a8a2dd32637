#include <grpoalign/rule.h>

#include <math.h>

#include "api/handles.h"

static grpoalign_status check_rule(grpoalign_rule_fn rule, int32_t position, grpoalign_error *error)
{
    return rule != NULL
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, -1, "rule must not be NULL");
}

/* ---- a table for rewards 0 and 1 ------------------------------------------------------------- */

static grpoalign_status check_table(const double *values, int64_t count, const char *name,
                                    int32_t position, grpoalign_error *error)
{
    GRA_TRY(gra_check_pointer(values, name, position, error));
    GRA_TRY(gra_check_finite(values, count, name, position, error));
    for (int64_t c = 0; c < count; c++) {
        if (fabs(values[c]) > GRA_LARGEST_ADVANTAGE) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, position, c,
                            "%s[%lld] must lie in [-%g, %g] (got %g)", name, (long long)c,
                            GRA_LARGEST_ADVANTAGE, GRA_LARGEST_ADVANTAGE, values[c]);
        }
    }
    return GRPOALIGN_OK;
}

grpoalign_status grpoalign_model_new_rule_table(const double *rewards, int64_t n,
                                                const double *success, const double *failure,
                                                int64_t group_size,
                                                const grpoalign_preference_options *options,
                                                grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_preference_options loaded;
    GRA_TRY(gra_begin_model(rewards, "rewards", n, 2, out, 7, error));
    GRA_TRY(gra_check_group_size(group_size, 5, error));
    GRA_TRY(gra_load_preference_options(options, 6, &loaded, error));
    GRA_TRY(gra_check_finite(rewards, n, "rewards", 1, error));
    for (int64_t o = 0; o < n; o++) {
        if (rewards[o] != 0.0 && rewards[o] != 1.0) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, o,
                            "rewards[%lld] must be 0 or 1, a failure or a success (got %g)",
                            (long long)o, rewards[o]);
        }
    }
    GRA_TRY(check_table(success, group_size, "success", 3, error));
    GRA_TRY(check_table(failure, group_size, "failure", 4, error));
    GRA_TRY(gra_ask_host(loaded.progress, loaded.user, 1.0, error));
    return gra_rule_table_new(rewards, n, success, failure, group_size, out, error);
}

/* ---- a rule ---------------------------------------------------------------------------------- */

grpoalign_status grpoalign_model_new_rule(const double *rewards, int64_t n, int64_t group_size,
                                          grpoalign_rule_fn rule, void *rule_user,
                                          const grpoalign_preference_options *options,
                                          grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_preference_options loaded;
    GRA_TRY(gra_begin_model(rewards, "rewards", n, 2, out, 7, error));
    GRA_TRY(gra_check_group_size(group_size, 3, error));
    GRA_TRY(check_rule(rule, 4, error));
    GRA_TRY(gra_load_preference_options(options, 6, &loaded, error));
    GRA_TRY(gra_check_finite(rewards, n, "rewards", 1, error));
    gra_arena arena = GRA_ARENA_INIT;
    int64_t *level_of = gra_arena_take(&arena, n, sizeof *level_of), count = 0;
    int64_t *first = gra_arena_take(&arena, n, sizeof *first);
    grpoalign_status status = GRPOALIGN_OK;
    if (level_of == NULL || first == NULL ||
        !gra_levels_build(rewards, NULL, n, level_of, first, &count, &arena)) {
        status = gra_fail_memory(error);
    } else {
        for (int64_t l = 0; l < count; l++) {
            first[l] = l; /* a level's number is its own name */
        }
        const gra_rule_levels levels = {n, count, count, level_of, first, rewards};
        const gra_rule_host host = {rule, rule_user, 4, loaded.progress, loaded.user};
        status = gra_rule_new(&levels, group_size, &host, out, error);
    }
    gra_arena_free(&arena);
    return status;
}

static grpoalign_status check_labels(const int64_t *labels, int64_t n, int64_t levels,
                                     grpoalign_error *error)
{
    if (levels < 1) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 3, -1, "levels must be >= 1 (got %lld)",
                        (long long)levels);
    }
    for (int64_t o = 0; o < n; o++) {
        if (labels[o] < 0 || labels[o] >= levels) {
            return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 1, o,
                            "labels[%lld] must be from 0 to levels - 1 = %lld (got %lld)",
                            (long long)o, (long long)(levels - 1), (long long)labels[o]);
        }
    }
    return GRPOALIGN_OK;
}

/* The levels that somebody is at. 0 on short memory. */
static int list_levels(const int64_t *labels, int64_t n, gra_rule_levels *out, gra_arena *arena)
{
    int64_t *at = gra_arena_take(arena, out->all, sizeof *at);
    int64_t *name = gra_arena_take(arena, out->all, sizeof *name);
    int64_t *level_of = gra_arena_take(arena, n, sizeof *level_of);
    if (at == NULL || name == NULL || level_of == NULL) {
        return 0;
    }
    for (int64_t l = 0; l < out->all; l++) {
        at[l] = -1;
    }
    for (int64_t o = 0; o < n; o++) {
        at[labels[o]] = 0;
    }
    for (int64_t l = 0; l < out->all; l++) {
        if (at[l] == 0) {
            name[out->levels] = l;
            at[l] = out->levels++;
        }
    }
    for (int64_t o = 0; o < n; o++) {
        level_of[o] = at[labels[o]];
    }
    out->level_of = level_of;
    out->name = name;
    return 1;
}

grpoalign_status grpoalign_model_new_rule_labelled(const int64_t *labels, int64_t n, int64_t levels,
                                                   const double *rewards, int64_t group_size,
                                                   grpoalign_rule_fn rule, void *rule_user,
                                                   const grpoalign_preference_options *options,
                                                   grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_preference_options loaded;
    GRA_TRY(gra_begin_model(labels, "labels", n, 2, out, 9, error));
    GRA_TRY(check_labels(labels, n, levels, error));
    GRA_TRY(gra_check_group_size(group_size, 5, error));
    GRA_TRY(check_rule(rule, 6, error));
    GRA_TRY(gra_load_preference_options(options, 8, &loaded, error));
    GRA_TRY(rewards != NULL ? gra_check_finite(rewards, n, "rewards", 4, error) : GRPOALIGN_OK);
    gra_arena arena = GRA_ARENA_INIT;
    gra_rule_levels used = {.outcomes = n, .all = levels, .rewards = rewards};
    const gra_rule_host host = {rule, rule_user, 6, loaded.progress, loaded.user};
    grpoalign_status status = list_levels(labels, n, &used, &arena)
                                  ? gra_rule_new(&used, group_size, &host, out, error)
                                  : gra_fail_memory(error);
    gra_arena_free(&arena);
    return status;
}

/* ---- pass@k ---------------------------------------------------------------------------------- */

/*
 * With r = C(G-c, k)/C(G, k) = 1 - m, whose step from c to c + 1 is r k/(G-c) down, so that m grows
 * by positive terms; C(G-1-c, k-1)/C(G-1, k-1) = r G/(G-c). A success is then worth sqrt(r/m), and
 * a failure -c/(G-c) times that.
 */
grpoalign_status grpoalign_rule_pass_at_k(int64_t group_size, int64_t k, double *success,
                                          double *failure, grpoalign_error *error)
{
    gra_clear(error);
    GRA_TRY(gra_check_group_size(group_size, 1, error));
    if (k < 1 || k > group_size) {
        return gra_fail(error, GRPOALIGN_ERR_ARGUMENT, 2, -1,
                        "k must be from 1 to group_size = %lld (got %lld)", (long long)group_size,
                        (long long)k);
    }
    GRA_TRY(gra_check_pointer(success, "success", 3, error));
    GRA_TRY(gra_check_pointer(failure, "failure", 4, error));
    double size = (double)group_size, tries = (double)k, r = 1.0, m = 0.0;
    for (int64_t c = 0; c <= group_size; c++) {
        double successes = (double)c, failures = size - successes;
        double worth = m > 0.0 && r > 0.0 ? sqrt(r / m) : 0.0;
        if (c > 0) {
            success[c - 1] = worth;
        }
        if (c < group_size) {
            failure[c] = worth > 0.0 ? -successes / failures * worth : 0.0;
            m += r * (tries / failures);
            r *= fmax(0.0, failures - tries) / failures;
        }
    }
    return GRPOALIGN_OK;
}
