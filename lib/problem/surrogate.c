/*
 * What is solved in the place of a model.
 *
 * With the direct KL inside the reward, R = r - beta log(pi/pi_ref), a better E[R] is a better
 * advantage whatever the scale: the policy is stationary once E[R] is the same for all, which is
 * the direct KL with unscaled rewards.
 *
 * The zero-variance filter drops groups without spread, penalty and all. An outcome's own group is
 * kept with probability 1 - W^(G-1), W being the probability of the rewards equal to its own, so
 * that training balances
 *
 *     u_o - beta (1 - W^(G-1)) g(l_o) = [u_o + beta W^(G-1) g(l_o)] - beta g(l_o)
 *
 * against a constant. The bracket is a model's advantage like another, at one beta and with one
 * reference and penalty: this one's.
 */
#include "problem/problem.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

typedef struct filter {
    grpoalign_model base;
    const grpoalign_model *inner;
    const gra_penalty *law;
    const grpoalign_reference *reference;
    double beta;
    int64_t levels, *level_of;
} filter;

static void filter_release(grpoalign_model *self)
{
    gra_release(((filter *)self)->level_of);
}

/* Logarithms of probabilities are taken of nothing smaller. */
static const double LEAST = 1e-300;

/* beta W^(G-1) g(log ratio), and its derivatives in W and in the log ratio. */
static double returned(const filter *self, double mass, double log_ratio, double *by_mass,
                       double *by_ratio)
{
    double n = (double)self->inner->filtered - 1.0, slope,
           slack = self->law->score(self->law, log_ratio, &slope);
    double g = self->law->slack(self->law, 0.0) - slack, power = pow(mass, n);
    *by_mass = self->beta * n * pow(mass, n - 1.0) * g;
    *by_ratio = -self->beta * power * slope;
    return self->beta * power * g;
}

static double *masses(const filter *self, const double *policy, gra_arena *arena)
{
    double *mass = gra_arena_doubles(arena, self->levels);
    if (mass != NULL) {
        memset(mass, 0, (size_t)self->levels * sizeof(double));
        for (int64_t o = 0; o < self->base.outcomes; o++) {
            mass[self->level_of[o]] += policy[o];
        }
    }
    return mass;
}

static double log_ratio_of(const filter *self, const double *policy, int64_t o)
{
    return log(fmax(policy[o], LEAST)) - self->reference->logarithm[o];
}

static grpoalign_status filter_advantage(const grpoalign_model *model, const double *policy,
                                         double *advantage, gra_arena *arena,
                                         grpoalign_error *error)
{
    const filter *self = (const filter *)model;
    double *mass = masses(self, policy, arena), by_mass, by_ratio;
    if (mass == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(self->inner->ops->advantage(self->inner, policy, advantage, arena, error));
    for (int64_t o = 0; o < model->outcomes; o++) {
        if (self->reference->support[o]) {
            advantage[o] += returned(self, mass[self->level_of[o]], log_ratio_of(self, policy, o),
                                     &by_mass, &by_ratio);
        }
    }
    return GRPOALIGN_OK;
}

static grpoalign_status filter_jacobian(const grpoalign_model *model, const double *policy,
                                        double *jacobian, int64_t stride, gra_arena *arena,
                                        grpoalign_error *error)
{
    const filter *self = (const filter *)model;
    double *mass = masses(self, policy, arena), by_mass, by_ratio;
    if (mass == NULL) {
        return gra_fail_memory(error);
    }
    GRA_TRY(self->inner->ops->jacobian(self->inner, policy, jacobian, stride, arena, error));
    for (int64_t o = 0; o < model->outcomes; o++) {
        if (!self->reference->support[o]) {
            continue;
        }
        (void)returned(self, mass[self->level_of[o]], log_ratio_of(self, policy, o), &by_mass,
                       &by_ratio);
        for (int64_t j = 0; j < model->outcomes; j++) {
            jacobian[o * stride + j] += self->level_of[j] == self->level_of[o] ? by_mass : 0.0;
        }
        jacobian[o * stride + o] += by_ratio / fmax(policy[o], LEAST);
    }
    return GRPOALIGN_OK;
}

/* ---- over classes --------------------------------------------------------------------------- */

typedef struct filter_game {
    const filter *model;
    gra_game inner;
    const double *log_mass; /* of the reference, per class */
} filter_game;

/* u + beta W^(G-1) g. */
static void add_returned(const gra_game *self, const double *w, double *a, double *jacobian)
{
    const filter_game *game = self->data;
    double by_mass, by_ratio;
    for (int64_t c = 0; c < self->classes; c++) {
        double mass = fmax(w[c], LEAST);
        double more =
            returned(game->model, mass, log(mass) - game->log_mass[c], &by_mass, &by_ratio);
        if (a != NULL) {
            a[c] += more;
        }
        if (jacobian != NULL) {
            jacobian[c * self->classes + c] += by_mass + by_ratio / mass;
        }
    }
}

static int game_advantage(const gra_game *self, const double *w, double shift, int accuracy,
                          double *a, gra_arena *arena)
{
    const filter_game *game = self->data;
    int done = game->inner.advantage(&game->inner, w, shift, accuracy, a, arena);
    if (done > 0) {
        add_returned(self, w, a, NULL);
    }
    return done;
}

static int game_jacobian(const gra_game *self, const double *w, int accuracy, double *jacobian,
                         gra_arena *arena)
{
    const filter_game *game = self->data;
    int done = game->inner.jacobian(&game->inner, w, accuracy, jacobian, arena);
    if (done > 0) {
        add_returned(self, w, NULL, jacobian);
    }
    return done;
}

static void game_release(gra_game *self)
{
    filter_game *game = self->data;
    if (game->inner.release != NULL) {
        game->inner.release(&game->inner);
    }
    gra_release(game);
}

static grpoalign_status filter_structure(const grpoalign_model *model,
                                         const unsigned char *supported, gra_structure *out,
                                         gra_arena *arena, grpoalign_error *error)
{
    const filter *self = (const filter *)model;
    GRA_TRY(self->inner->ops->structure(self->inner, supported, out, arena, error));
    if (out->kind == GRA_FLAT) {
        return GRPOALIGN_OK;
    }
    if (out->kind == GRA_AFFINE) {
        gra_affine *affine = gra_arena_take(arena, 1, sizeof *affine);
        if (affine == NULL) {
            return gra_fail_memory(error);
        }
        *affine = out->affine;
        gra_game_from_affine(&out->game, affine);
        out->kind = GRA_GAME;
    }
    filter_game *game = gra_alloc(1, sizeof *game);
    double *share = gra_arena_doubles(arena, model->outcomes);
    gra_class_reference over_classes;
    if (game == NULL || share == NULL ||
        !gra_reference_of_classes(self->reference, out, &over_classes, share, arena)) {
        gra_release(game);
        return gra_fail_memory(error);
    }
    *game = (filter_game){.model = self, .inner = out->game, .log_mass = over_classes.log_mass};
    out->game.advantage = game_advantage;
    out->game.jacobian = game_jacobian;
    out->game.check = NULL;
    out->game.contraction = INFINITY; /* nothing is known */
    out->game.unheld = 1;
    out->game.data = game;
    out->game.release = game_release;
    return GRPOALIGN_OK;
}

static const gra_model_ops FILTER_OPS = {.release = filter_release,
                                         .advantage = filter_advantage,
                                         .jacobian = filter_jacobian,
                                         .structure = filter_structure};

grpoalign_status gra_surrogate_of_filter(const grpoalign_model *inner, const gra_penalty *law,
                                         const grpoalign_reference *reference, double beta,
                                         grpoalign_model **out, grpoalign_error *error)
{
    grpoalign_model *base;
    gra_arena arena = GRA_ARENA_INIT;
    GRA_TRY(gra_model_allocate(sizeof(filter), &FILTER_OPS, inner->outcomes, inner->rewards, &base,
                               error));
    filter *self = (filter *)base;
    self->inner = inner;
    self->law = law;
    self->reference = reference;
    self->beta = beta;
    self->level_of = gra_alloc(inner->outcomes, sizeof *self->level_of);
    int64_t *first = gra_arena_take(&arena, inner->outcomes, sizeof *first);
    int built = self->level_of != NULL && first != NULL &&
                gra_levels_build(inner->rewards, NULL, inner->outcomes, self->level_of, first,
                                 &self->levels, &arena);
    gra_arena_free(&arena);
    if (!built) {
        gra_model_free(base);
        return gra_fail_memory(error);
    }
    base->expectation = inner->expectation;
    *out = base;
    return GRPOALIGN_OK;
}

grpoalign_status gra_surrogate_of_rewards(const grpoalign_model *model, grpoalign_model **out,
                                          grpoalign_error *error)
{
    if (model->filtered > 0) {
        return gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
                        "with the KL inside the reward no group is without spread: zero_variance = "
                        "drop has no meaning");
    }
    if (!model->by_mean_reward) {
        return gra_fail(
            error, GRPOALIGN_ERR_UNSUPPORTED, 1, -1,
            "the KL inside the reward is solved where a better mean reward is a better advantage: "
            "not for %s",
            model->by_rule           ? "group rules"
            : model->rewards == NULL ? "margins"
                                     : "random rewards scaled by their std in finite groups");
    }
    gra_convention unscaled = {.scale = GRPOALIGN_SCALE_NONE};
    const gra_affine_rewards rewards = {
        .outcomes = model->outcomes, .rewards = model->rewards, .values = model->values};
    return gra_affine_model_new(&rewards, 1.0, &unscaled, out, error);
}

grpoalign_status gra_check_filter(const gra_penalty *law, grpoalign_error *error)
{
    return gra_penalty_holds(law)
               ? GRPOALIGN_OK
               : gra_fail(error, GRPOALIGN_ERR_UNSUPPORTED, 2, -1,
                          "groups without spread that are dropped are solved with penalties that "
                          "hold every outcome, not with %s",
                          gra_penalty_row_of(law->kind)->name);
}
