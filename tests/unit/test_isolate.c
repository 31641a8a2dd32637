/* Isolation against functions whose roots are known: every root is in a bracket, a bracket that
 * says one holds one, a piece that is left out holds none, and nothing grows without bound. */
#include "check.h"

#include "solver/isolate.h"

typedef struct client {
    double (*f)(double x);
    double slope, bend; /* bounds on |f'| and |f''| */
    gra_point place[GRA_PLACES];
    int64_t looks, stop_after;
} client;

static const gra_point *look(void *context, double x, int place)
{
    client *self = context;
    assert_in_range(place, 0, GRA_PLACES - 1);
    if (++self->looks == self->stop_after) {
        return NULL;
    }
    self->place[place] = (gra_point){.x = x, .scale = x, .value = self->f(x)};
    return &self->place[place];
}

/* From the slopes of f alone: a difference quotient is f' somewhere in the piece. */
static gra_piece bound(void *context, const gra_point *a, const gra_point *b)
{
    client *self = context;
    double width = b->x - a->x, middle = 0.5 * (a->value + b->value);
    double quotient = (b->value - a->value) / width;
    gra_piece piece = {
        .value = {middle - 0.5 * self->slope * width, middle + 0.5 * self->slope * width}};
    piece.slope = quotient > self->bend * width ? 1 : quotient < -self->bend * width ? -1 : 0;
    return piece;
}

static gra_isolation isolate(client *self, double low, double high, gra_interval wanted,
                             double finest, int64_t most, gra_arena *arena)
{
    gra_isolation out = {.client = self,
                         .look = look,
                         .bound = bound,
                         .arena = arena,
                         .wanted = wanted,
                         .finest = finest,
                         .most_points = most};
    const gra_point *a = gra_isolation_look(&out, low, GRA_PLACE_A);
    const gra_point *b = a != NULL ? gra_isolation_look(&out, high, GRA_PLACE_B) : NULL;
    if (b != NULL) {
        gra_isolate(&out, a, b);
    }
    return out;
}

static double wave(double x)
{
    return sin(5.0 * x) + 0.5 * x;
}

static double touching(double x)
{
    return (x - 0.3) * (x - 0.3);
}

static double steep(double x)
{
    return tanh(1e6 * (x - 0.123456789));
}

/* The roots of `wave` between -3 and 3, counted by sign changes on a fine grid. */
static int count_on_grid(double (*f)(double), double low, double high, double level)
{
    int count = 0;
    for (int i = 0; i < 200000; i++) {
        double a = f(low + (high - low) * i / 200000.0) - level;
        double b = f(low + (high - low) * (i + 1) / 200000.0) - level;
        count += (a > 0.0) != (b > 0.0);
    }
    return count;
}

static void every_root_of_a_wave_is_isolated(void **state)
{
    (void)state;
    for (double level = -1.9; level < 2.0; level += 0.17) {
        gra_arena arena = GRA_ARENA_INIT;
        client self = {.f = wave, .slope = 5.5, .bend = 25.0};
        gra_isolation found =
            isolate(&self, -3.0, 3.0, (gra_interval){level, level}, 1e-12, 100000, &arena);
        assert_true(gra_isolation_is_proved(&found));
        assert_int_equal(found.roots.count, count_on_grid(wave, -3.0, 3.0, level));
        for (int64_t k = 0; k < found.roots.count; k++) {
            gra_bracket bracket = found.roots.items[k];
            assert_int_equal(bracket.holds, GRA_HOLDS_ONE);
            assert_true((wave(bracket.low) > level) != (wave(bracket.high) > level));
            assert_int_equal(count_on_grid(wave, bracket.low, bracket.high, level), 1);
            assert_true(k == 0 || found.roots.items[k - 1].high <= bracket.low);
        }
        gra_arena_free(&arena);
    }
}

static void folds_of_a_wave_are_bracketed_in_order(void **state)
{
    (void)state;
    gra_arena arena = GRA_ARENA_INIT;
    client self = {.f = wave, .slope = 5.5, .bend = 25.0};
    gra_isolation found =
        isolate(&self, -3.0, 3.0, (gra_interval){-0.9, 1.4}, 1e-6, 100000, &arena);
    int wanted = 0;
    /* f' = 5 cos 5x + 1/2 vanishes at x = +-acos(-1/10)/5 + 2 pi k/5. */
    for (int k = -3; k <= 3; k++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            double x = sign * acos(-0.1) / 5.0 + 2.0 * acos(-1.0) * k / 5.0;
            if (fabs(x) < 3.0 && wave(x) > -0.9 && wave(x) < 1.4) {
                int held = 0;
                for (int64_t i = 0; i < found.unknown.count; i++) {
                    held += found.unknown.items[i].low <= x && found.unknown.items[i].high >= x;
                }
                assert_int_equal(held, 1);
                wanted++;
            }
        }
    }
    assert_true(wanted >= 4);
    assert_int_equal(found.unknown.count, wanted);
    assert_int_equal(found.exhausted, 0);
    gra_arena_free(&arena);
}

static void a_touching_point_is_unknown_and_not_proved(void **state)
{
    (void)state;
    gra_arena arena = GRA_ARENA_INIT;
    client self = {.f = touching, .slope = 3.0, .bend = 2.0};
    gra_isolation found = isolate(&self, -1.0, 1.0, (gra_interval){0.0, 0.0}, 1e-9, 100000, &arena);
    assert_false(gra_isolation_is_proved(&found));
    assert_true(found.unknown.count >= 1);
    assert_true(found.unknown.items[0].low <= 0.3 && found.unknown.items[0].high >= 0.3);
    assert_true(found.roots.count <= 1);
    gra_arena_free(&arena);
}

/* A bound so poor that all is divided to the end: the work is bounded by the number of points, and
 * the depth by GRA_DEEPEST, whatever the function is. */
static void work_is_bounded_whatever_the_function(void **state)
{
    (void)state;
    for (int64_t most = 1; most <= 3000; most *= 7) {
        gra_arena arena = GRA_ARENA_INIT;
        client self = {.f = steep, .slope = 1e300, .bend = 1e300};
        gra_isolation found =
            isolate(&self, -1.0, 1.0, (gra_interval){0.0, 0.0}, 0.0, most, &arena);
        assert_true(found.points <= most + 2);
        assert_true(found.exhausted);
        assert_false(gra_isolation_is_proved(&found));
        assert_int_equal(found.roots.count, 1); /* the sign still changes once */
        assert_int_equal(found.roots.items[0].holds, GRA_HOLDS_UNKNOWN);
        gra_arena_free(&arena);
    }
}

static void a_client_that_stops_is_left_at_once(void **state)
{
    (void)state;
    for (int64_t stop = 1; stop < 20; stop++) {
        gra_arena arena = GRA_ARENA_INIT;
        client self = {.f = wave, .slope = 5.5, .bend = 25.0, .stop_after = stop};
        gra_isolation found =
            isolate(&self, -3.0, 3.0, (gra_interval){0.1, 0.1}, 1e-12, 100000, &arena);
        assert_int_equal(self.looks, stop);
        assert_true(found.stopped);
        assert_false(gra_isolation_is_proved(&found));
        gra_arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_root_of_a_wave_is_isolated),
        cmocka_unit_test(folds_of_a_wave_are_bracketed_in_order),
        cmocka_unit_test(a_touching_point_is_unknown_and_not_proved),
        cmocka_unit_test(work_is_bounded_whatever_the_function),
        cmocka_unit_test(a_client_that_stops_is_left_at_once),
    };
    return run_chosen(tests);
}
