/*
 * Isolation: every root of one function on a stretch, and every place where it may turn.
 *
 * The client gives the function point by point, and over a piece between two points bounds on its
 * values and the sign of its slope. A piece is divided until the bounds exclude the values that are
 * wanted, or the function is monotone in it; a piece too small to divide is left as unknown. What
 * is found is then all there is. (doc/theory.md, section 4.2)
 */
#ifndef GRA_SOLVER_ISOLATE_H
#define GRA_SOLVER_ISOLATE_H

#include <stdint.h>

#include "base/alloc.h"
#include "base/interval.h"

/* The head of what a client keeps of a point. */
typedef struct gra_point {
    double x;     /* where it is */
    double scale; /* the logarithm of a position: widths are measured in it */
    double value;
} gra_point;

/* What is known of the function over a piece. */
typedef struct gra_piece {
    gra_interval value;
    int slope; /* 1: it rises, -1: it falls, 0: unknown */
    int last;  /* no smaller piece tells more */
} gra_piece;

/* What a bracket holds: exactly one root; or perhaps none, one, or several. A piece that holds none
 * is not listed. */
enum { GRA_HOLDS_ONE, GRA_HOLDS_UNKNOWN };

typedef struct gra_bracket {
    double low, high;
    double scale; /* of high */
    int holds;
} gra_bracket;

/* A list of brackets, in order; the arena keeps them. */
typedef struct gra_brackets {
    gra_bracket *items;
    int64_t count, capacity;
} gra_brackets;

/* No piece is halved more often than this. */
enum { GRA_DEEPEST = 60 };
/* Places for points: those of the pieces under way, and two for the caller's ends. */
enum { GRA_PLACES = GRA_DEEPEST + 4 };

typedef struct gra_isolation {
    /* the client */
    void *client;
    /* The point at x, kept in a place until the place is used again; NULL to stop. */
    const gra_point *(*look)(void *client, double x, int place);
    gra_piece (*bound)(void *client, const gra_point *a, const gra_point *b);
    gra_arena *arena;
    /* the question */
    gra_interval wanted; /* of values: one value for its roots, or an interval for folds in it */
    double finest;       /* width of the smallest pieces */
    int64_t most_points;
    /* the answer */
    gra_brackets roots;   /* of wanted.low where it is one value: the function changes its sign */
    gra_brackets unknown; /* pieces too small to divide that may hold a fold, joined where they
                             touch */
    int64_t points;
    int exhausted; /* pieces were left undecided for want of points */
    int short_memory;
    int stopped; /* look gave NULL */
} gra_isolation;

/* Caller's points: in the places 0 and 1. */
enum { GRA_PLACE_A = 0, GRA_PLACE_B = 1 };

/* The point at x in a place; counts it. */
const gra_point *gra_isolation_look(gra_isolation *self, double x, int place);

/* Goes through the piece between two points, a->x < b->x, from a to b. */
void gra_isolate(gra_isolation *self, const gra_point *a, const gra_point *b);

/* Notes a bracket that the client found by itself. */
void gra_isolation_note(gra_isolation *self, double low, double high);

/* Whether every root is isolated. */
int gra_isolation_is_proved(const gra_isolation *self);

#endif
