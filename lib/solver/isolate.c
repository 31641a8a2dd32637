#include "solver/isolate.h"

#include <math.h>

/* Where a function touches the value its rounding crosses it many times: brackets of unknown
 * content as near as this are one. The function is flat to rounding as far as the root of that. */
static const double TOUCH = 1e-6;

const gra_point *gra_isolation_look(gra_isolation *self, double x, int place)
{
    const gra_point *point = self->look(self->client, x, place);
    self->points++;
    self->stopped |= point == NULL;
    return point;
}

static gra_bracket *add(gra_isolation *self, gra_brackets *list, gra_bracket bracket)
{
    gra_bracket *items =
        gra_arena_grow(self->arena, list->items, list->count, &list->capacity, sizeof *items);
    if (items == NULL) {
        self->short_memory = 1;
        return NULL;
    }
    list->items = items;
    items[list->count] = bracket;
    return &items[list->count++];
}

static gra_bracket *last_of(gra_brackets *list)
{
    return list->count > 0 ? &list->items[list->count - 1] : NULL;
}

static void note_unknown(gra_isolation *self, const gra_point *a, const gra_point *b)
{
    gra_bracket *last = last_of(&self->unknown);
    if (last != NULL && last->high >= a->x) {
        last->high = b->x;
        last->scale = b->scale;
        return;
    }
    (void)add(self, &self->unknown, (gra_bracket){a->x, b->x, b->scale, GRA_HOLDS_UNKNOWN});
}

static void note_root(gra_isolation *self, const gra_point *a, const gra_point *b, int holds)
{
    gra_bracket *last = last_of(&self->roots);
    if (last != NULL && holds == GRA_HOLDS_UNKNOWN && last->holds == GRA_HOLDS_UNKNOWN &&
        fabs(a->scale - last->scale) < TOUCH) {
        last->high = b->x;
        last->scale = b->scale;
        return;
    }
    (void)add(self, &self->roots, (gra_bracket){a->x, b->x, b->scale, holds});
}

/* Notes what a piece holds, or says that it must be divided. */
static int is_decided(gra_isolation *self, const gra_point *a, const gra_point *b, int divisible)
{
    gra_piece piece = self->bound(self->client, a, b);
    double root = self->wanted.low;
    int one_value = self->wanted.low == self->wanted.high;
    int crosses = one_value && (a->value > root) != (b->value > root);
    if (!crosses && (piece.value.high < self->wanted.low || piece.value.low > self->wanted.high)) {
        return 1;
    }
    double middle = 0.5 * (a->x + b->x);
    int small = piece.last || !(fabs(b->scale - a->scale) > self->finest) || !divisible ||
                !(middle > a->x && middle < b->x);
    int spent = self->points >= self->most_points;
    if (piece.slope == 0 && !small && !spent) {
        return 0;
    }
    if (piece.slope == 0) {
        self->exhausted |= !small;
        note_unknown(self, a, b);
    }
    if (crosses) {
        note_root(self, a, b, piece.slope != 0 ? GRA_HOLDS_ONE : GRA_HOLDS_UNKNOWN);
    }
    return 1;
}

void gra_isolate(gra_isolation *self, const gra_point *a, const gra_point *b)
{
    /* The right ends of what is left to do, the nearest last, and the places they are in. */
    const gra_point *right[GRA_DEEPEST + 1] = {b}, *left = a;
    int place[GRA_DEEPEST + 1] = {-1}, spare[GRA_DEEPEST + 1], spares = 0, left_place = -1;
    int depth = 0;
    for (int p = GRA_DEEPEST + 1; p >= 2; p--) {
        spare[spares++] = p;
    }
    while (depth >= 0 && !self->short_memory) {
        if (is_decided(self, left, right[depth], depth < GRA_DEEPEST && spares > 0)) {
            if (left_place >= 0) {
                spare[spares++] = left_place;
            }
            left = right[depth];
            left_place = place[depth--];
            continue;
        }
        place[depth + 1] = spare[--spares];
        right[depth + 1] =
            gra_isolation_look(self, 0.5 * (left->x + right[depth]->x), place[depth + 1]);
        if (right[depth + 1] == NULL) {
            return;
        }
        depth++;
    }
}

void gra_isolation_note(gra_isolation *self, double low, double high)
{
    (void)add(self, &self->roots, (gra_bracket){low, high, high, GRA_HOLDS_UNKNOWN});
}

int gra_isolation_is_proved(const gra_isolation *self)
{
    return self->unknown.count == 0 && !self->exhausted && !self->short_memory && !self->stopped;
}
