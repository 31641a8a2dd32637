/* Pairwise preferences induced by rewards: margin = scale * sign of the difference. No matrix is
 * formed. */
#include "model/model.h"

#include <math.h>
#include <string.h>

#include "base/numeric.h"
#include "base/status.h"

typedef struct ranked_model {
    grpoalign_model base;
    int64_t levels;
    int64_t *level_of; /* ascending in reward */
    double scale;
} ranked_model;

static void ranked_release(grpoalign_model *self)
{
    gra_release(((ranked_model *)self)->level_of);
}

static grpoalign_status ranked_advantage(const grpoalign_model *self, const double *policy,
                                         double *advantage, gra_arena *arena,
                                         grpoalign_error *error)
{
    const ranked_model *model = (const ranked_model *)self;
    double *mass = gra_arena_doubles(arena, model->levels),
           *u = gra_arena_doubles(arena, model->levels);
    if (mass == NULL || u == NULL) {
        return gra_fail_memory(error);
    }
    memset(mass, 0, (size_t)model->levels * sizeof(double));
    for (int64_t o = 0; o < self->outcomes; o++) {
        mass[model->level_of[o]] += policy[o];
    }
    gra_sum above = {0.0, 0.0}, below = {0.0, 0.0};
    for (int64_t l = model->levels - 1; l >= 0; l--) {
        u[l] = gra_sum_value(above);
        gra_sum_add(&above, mass[l]);
    }
    for (int64_t l = 0; l < model->levels; l++) {
        u[l] = model->scale * (gra_sum_value(below) - u[l]);
        gra_sum_add(&below, mass[l]);
    }
    for (int64_t o = 0; o < self->outcomes; o++) {
        advantage[o] = u[model->level_of[o]];
    }
    return GRPOALIGN_OK;
}

static grpoalign_status ranked_jacobian(const grpoalign_model *self, const double *policy,
                                        double *jacobian, int64_t stride, gra_arena *arena,
                                        grpoalign_error *error)
{
    const int64_t *level = ((const ranked_model *)self)->level_of;
    double scale = ((const ranked_model *)self)->scale;
    (void)policy, (void)arena, (void)error;
    for (int64_t i = 0; i < self->outcomes; i++) {
        for (int64_t j = 0; j < self->outcomes; j++) {
            int order = (level[i] > level[j]) - (level[i] < level[j]);
            jacobian[i * stride + j] = scale * order;
        }
    }
    return GRPOALIGN_OK;
}

/* Signs of differences do not change, but where rewards tie. */
static grpoalign_status ranked_by_rewards(const grpoalign_model *self, const double *policy,
                                          double *slopes, gra_arena *arena, grpoalign_error *error)
{
    const int64_t *level = ((const ranked_model *)self)->level_of;
    int64_t n = self->outcomes;
    (void)policy, (void)arena, (void)error;
    for (int64_t j = 0; j < n; j++) {
        int ties = 0;
        for (int64_t o = 0; o < n; o++) {
            ties = ties || (o != j && level[o] == level[j]);
        }
        for (int64_t o = 0; o < n; o++) {
            slopes[o * n + j] = ties ? NAN : 0.0;
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status ranked_structure(const grpoalign_model *self,
                                         const unsigned char *supported, gra_structure *out,
                                         gra_arena *arena, grpoalign_error *error)
{
    const ranked_model *model = (const ranked_model *)self;
    if (!gra_classes_from_levels(model->level_of, self->outcomes, model->levels, supported, out,
                                 NULL, arena)) {
        return gra_fail_memory(error);
    }
    out->kind = out->classes > 1 ? GRA_RANKED : GRA_FLAT;
    out->ranked_scale = model->scale;
    return GRPOALIGN_OK;
}

static const gra_model_ops RANKED_OPS = {.release = ranked_release,
                                         .advantage = ranked_advantage,
                                         .jacobian = ranked_jacobian,
                                         .by_rewards = ranked_by_rewards,
                                         .structure = ranked_structure};

grpoalign_status gra_ranked_new(const double *rewards, int64_t n, double scale,
                                grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_model *base;
    GRA_TRY(gra_model_allocate(sizeof(ranked_model), &RANKED_OPS, n, rewards, &base, error));
    ranked_model *model = (ranked_model *)base;
    model->scale = scale;
    gra_arena arena = GRA_ARENA_INIT;
    model->level_of = gra_alloc(n, sizeof *model->level_of);
    int64_t *first = gra_arena_take(&arena, n, sizeof *first);
    int built = model->level_of != NULL && first != NULL &&
                gra_levels_build(rewards, NULL, n, model->level_of, first, &model->levels, &arena);
    gra_arena_free(&arena);
    if (!built) {
        gra_model_free(base);
        return gra_fail_memory(error);
    }
    *out = base;
    return GRPOALIGN_OK;
}
