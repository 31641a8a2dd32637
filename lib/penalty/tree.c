#include "penalty/tree.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/numeric.h"

/* ---- the tree ------------------------------------------------------------------------------- */

/* A stretch of leaves that share a prefix of `depth` tokens. */
typedef struct stretch {
    int64_t first, last, depth;
} stretch;

typedef struct builder {
    const gra_completions *of;
    const int64_t *outcome; /* of each leaf */
    const double *log_mass;
    gra_node *node;
    gra_edge *edge;
    stretch *open; /* of each node */
    int64_t nodes, edges;
} builder;

static int64_t length_of(const builder *self, int64_t leaf)
{
    const gra_completions *of = self->of;
    int64_t o = self->outcome[leaf];
    return of->offsets != NULL ? of->offsets[o + 1] - of->offsets[o] : 1;
}

/* The token of a leaf at a depth; its end is one, too, before all others. */
static int is_same_choice(const builder *self, int64_t a, int64_t b, int64_t depth)
{
    const gra_completions *of = self->of;
    if (of->offsets == NULL || length_of(self, a) <= depth || length_of(self, b) <= depth) {
        return a == b;
    }
    return of->tokens[of->offsets[self->outcome[a]] + depth] ==
           of->tokens[of->offsets[self->outcome[b]] + depth];
}

/* The depth at which the leaves of a stretch part. */
static int64_t parting(const builder *self, int64_t first, int64_t last, int64_t depth)
{
    while (is_same_choice(self, first, last - 1, depth)) { /* they are sorted */
        depth++;
    }
    return depth;
}

static void open_node(builder *self, int64_t first, int64_t last, int64_t depth)
{
    self->open[self->nodes++] = (stretch){first, last, parting(self, first, last, depth)};
}

/* The edges of a node, and the nodes that they lead to. */
static void close_node(builder *self, int64_t at)
{
    stretch here = self->open[at];
    double whole = gra_log_sum_exp(self->log_mass + here.first, here.last - here.first);
    self->node[at].first = self->edges;
    for (int64_t first = here.first, last; first < here.last; first = last) {
        for (last = first + 1; last < here.last && is_same_choice(self, first, last, here.depth);
             last++) {
        }
        double mass = gra_log_sum_exp(self->log_mass + first, last - first);
        self->edge[self->edges++] =
            (gra_edge){last - first > 1 ? self->nodes : -1, first, last, mass - whole};
        if (last - first > 1) {
            open_node(self, first, last, here.depth + 1);
        }
    }
    self->node[at].count = self->edges - self->node[at].first;
}

/* The supported outcomes in the order of their sequences. 0 on short memory. */
static int order_leaves(const gra_completions *of, int64_t count, const int64_t *at,
                        int64_t *outcome, int64_t *leaf, gra_arena *arena)
{
    int64_t *place = gra_arena_take(arena, of->count, sizeof *place), next = 0;
    if (place == NULL) {
        return 0;
    }
    for (int64_t o = 0; o < of->count; o++) {
        place[o] = -1;
    }
    for (int64_t i = 0; i < count; i++) {
        place[at[i]] = i;
    }
    for (int64_t k = 0; k < of->count; k++) {
        int64_t o = of->order != NULL ? of->order[k] : k;
        if (place[o] >= 0) {
            outcome[next] = o;
            leaf[next++] = place[o];
        }
    }
    return 1;
}

int gra_tree_build(const gra_completions *of, int64_t count, const int64_t *at,
                   const double *log_mass, gra_tree *out, gra_arena *arena)
{
    int64_t *outcome = gra_arena_take(arena, count, sizeof *outcome);
    int64_t *leaf = gra_arena_take(arena, count, sizeof *leaf);
    double *mass = gra_arena_doubles(arena, count), *weight = gra_arena_doubles(arena, count);
    builder self = {.of = of,
                    .outcome = outcome,
                    .log_mass = mass,
                    .node = gra_arena_take(arena, count, sizeof(gra_node)),
                    .edge = gra_arena_take(arena, 2 * count, sizeof(gra_edge)),
                    .open = gra_arena_take(arena, count, sizeof(stretch))};
    if (outcome == NULL || leaf == NULL || mass == NULL || weight == NULL || self.node == NULL ||
        self.edge == NULL || self.open == NULL ||
        !order_leaves(of, count, at, outcome, leaf, arena)) {
        return 0;
    }
    for (int64_t i = 0; i < count; i++) {
        mass[i] = log_mass[leaf[i]];
        weight[i] = of->weights != NULL ? of->weights[outcome[i]] : 1.0;
    }
    if (count > 1) {
        open_node(&self, 0, count, 0);
    }
    for (int64_t k = 0; k < self.nodes; k++) {
        close_node(&self, k);
    }
    *out = (gra_tree){.leaves = count,
                      .nodes = self.nodes,
                      .edges = self.edges,
                      .node = self.node,
                      .edge = self.edge,
                      .weight = weight,
                      .leaf = leaf,
                      .entropy = of->entropy};
    return 1;
}

/* ---- the response --------------------------------------------------------------------------- */

int gra_tree_response_take(gra_tree_response *out, const gra_tree *tree, const gra_penalty *law,
                           gra_arena *arena)
{
    double *all = gra_arena_doubles(arena, 4 * tree->edges + tree->nodes + tree->leaves);
    *out = (gra_tree_response){.tree = tree, .law = law};
    if (all == NULL) {
        return 0;
    }
    out->value = all;
    out->weight = all + tree->edges;
    out->ratio = all + 2 * tree->edges;
    out->policy = all + 3 * tree->edges;
    out->level = all + 4 * tree->edges;
    out->log_policy = out->level + tree->nodes;
    return 1;
}

/* What g is measured from in a slack. */
static double origin_of(const gra_penalty *law)
{
    return gra_penalty_has_pole(law) ? law->pole : 0.0;
}

/* g, and its derivative. */
static double force(const gra_penalty *law, double ratio, double *slope)
{
    double slack = law->slack(law, ratio),
           moves = slack < law->slack_most ? law->log_slope(law, slack) : 0.0;
    *slope = moves > 0.0 ? 1.0 / moves : 0.0;
    return origin_of(law) - slack;
}

/* One choice that answers: beta W g(l) + alpha (l + log rho) = V - c. */
typedef struct choice {
    const gra_tree_response *of;
    int64_t edge;
    double wanted;
} choice;

static double alpha_of(const gra_tree_response *self)
{
    return self->beta * self->tree->entropy;
}

static double excess(void *context, double ratio)
{
    const choice *self = context;
    const gra_tree_response *of = self->of;
    double slope, g = force(of->law, ratio, &slope);
    return of->beta * of->weight[self->edge] * g +
           alpha_of(of) * (ratio + of->tree->edge[self->edge].log_mass) - self->wanted;
}

/* A log ratio that no double goes beyond. */
static const double FARTHEST = 1e9;

/* The log ratio of an edge at c. */
static double answer(const gra_tree_response *self, int64_t edge, double wanted)
{
    double weight = self->beta * self->weight[edge], alpha = alpha_of(self);
    if (alpha == 0.0) {
        double slack = origin_of(self->law) - wanted / weight;
        int beyond = gra_penalty_has_pole(self->law) && !(slack > 0.0);
        return beyond ? FARTHEST : self->law->log_ratio(self->law, slack);
    }
    if (weight == 0.0) {
        return wanted / alpha - self->tree->edge[edge].log_mass;
    }
    choice at = {self, edge, wanted};
    double reach = 1.0, here = excess(&at, 0.0), side = here > 0.0 ? -1.0 : 1.0, before = 0.0,
           there = here;
    while (reach < FARTHEST && here != 0.0 && (there > 0.0) == (here > 0.0)) {
        there = excess(&at, side * reach);
        if ((there > 0.0) != (here > 0.0) || there == 0.0) {
            break;
        }
        before = side * reach;
        reach *= 2.0;
    }
    if (here == 0.0 || there == 0.0) {
        return here == 0.0 ? 0.0 : side * reach;
    }
    double last = before == 0.0 ? here : excess(&at, before);
    return side > 0.0 ? gra_root(excess, &at, before, last, side * reach, there)
                      : gra_root(excess, &at, side * reach, there, before, last);
}

/* A node whose level is looked for. */
typedef struct balance {
    gra_tree_response *of;
    int64_t node;
    double base; /* with a pole the level is base + exp(x), without one it is x */
    int above;
} balance;

static double level_of(const balance *self, double x)
{
    return self->above ? self->base + exp(x) : x;
}

/* log of the sum of the policy at a node, whose masked choices have none. */
static double log_total(void *context, double x)
{
    balance *self = context;
    gra_tree_response *of = self->of;
    const gra_node *node = &of->tree->node[self->node];
    double pole = gra_penalty_has_pole(of->law) ? of->law->pole : 0.0;
    gra_sum total = {0.0, 0.0};
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        double weight = of->beta * of->weight[e];
        of->policy[e] = 0.0;
        if (weight == 0.0 && alpha_of(of) == 0.0) {
            continue;
        }
        /* Above a pole the slack is what is left of it, to its last digit. */
        of->ratio[e] =
            self->above
                ? of->law->log_ratio(
                      of->law, ((self->base - of->value[e]) + pole * weight + exp(x)) / weight)
                : answer(of, e, of->value[e] - level_of(self, x));
        of->policy[e] = exp(of->tree->edge[e].log_mass + fmin(of->ratio[e], 700.0));
        gra_sum_add(&total, of->policy[e]);
    }
    return log(gra_sum_value(total));
}

/* The level at which a node's choices hold all: their sum falls as it rises. */
static void find_level(balance *self)
{
    gra_tree_response *of = self->of;
    const gra_node *node = &of->tree->node[self->node];
    double alpha = alpha_of(of), low = INFINITY, high = -INFINITY, size = 0.0;
    self->above = alpha == 0.0 && gra_penalty_has_pole(of->law);
    self->base = -INFINITY;
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        double weight = of->beta * of->weight[e];
        if (weight == 0.0 && alpha == 0.0) {
            continue;
        }
        /* at l = 0, where all together hold what they held */
        double even = of->value[e] - alpha * of->tree->edge[e].log_mass;
        low = fmin(low, even);
        high = fmax(high, even);
        size = fmax(size, fabs(even));
        self->base = self->above ? fmax(self->base, of->value[e] - of->law->pole * weight) : 0.0;
    }
    if (self->above) {
        high = log(high - self->base);
        low = high - 800.0;
        double heaviest = -INFINITY; /* the slack of the best holds it to at most 1 */
        for (int64_t e = node->first; e < node->first + node->count; e++) {
            double weight = of->beta * of->weight[e];
            if (weight > 0.0 && of->value[e] - of->law->pole * weight == self->base) {
                double least = of->law->slack(of->law, -of->tree->edge[e].log_mass);
                heaviest = fmax(heaviest, log(least * weight));
            }
        }
        low = fmin(fmax(low, heaviest), high);
    }
    double at_low = log_total(self, low), at_high = log_total(self, high), x;
    /* Bounds are met to rounding. */
    x = at_low <= 0.0    ? low
        : at_high >= 0.0 ? high
                         : gra_root(log_total, self, low, at_low, high, at_high);
    of->level[self->node] = level_of(self, x);
    (void)log_total(self, x);
}

/* Choices that nothing acts on take what the others leave at level 0, or vanish. */
static void mask(gra_tree_response *self, int64_t at, balance *level)
{
    const gra_node *node = &self->tree->node[at];
    gra_sum masked = {0.0, 0.0}, others = {0.0, 0.0};
    level->base = -INFINITY;
    level->above = 0;
    (void)log_total(level, 0.0);
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        gra_sum_add(self->weight[e] == 0.0 ? &masked : &others,
                    self->weight[e] == 0.0 ? exp(self->tree->edge[e].log_mass) : self->policy[e]);
    }
    double left = 1.0 - gra_sum_value(others);
    if (!(left > 0.0)) {
        find_level(level);
    }
    self->level[at] = left > 0.0 ? 0.0 : self->level[at];
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        if (self->weight[e] == 0.0) {
            self->ratio[e] = left > 0.0 ? log(left / gra_sum_value(masked)) : -INFINITY;
            self->policy[e] = left > 0.0 ? exp(self->tree->edge[e].log_mass + self->ratio[e]) : 0.0;
        }
    }
}

static int is_masked(const gra_tree_response *self, int64_t edge)
{
    return self->weight[edge] == 0.0 && self->tree->entropy == 0.0;
}

/* Where all weights are the same, and no entropy counts, it is the ordinary response. */
static void respond_at(gra_tree_response *self, int64_t at)
{
    const gra_node *node = &self->tree->node[at];
    balance level = {.of = self, .node = at};
    int64_t masked = 0;
    gra_sum total = {0.0, 0.0};
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        masked += is_masked(self, e);
    }
    if (masked == node->count) { /* nothing acts at all */
        for (int64_t e = node->first; e < node->first + node->count; e++) {
            self->ratio[e] = 0.0;
            self->policy[e] = exp(self->tree->edge[e].log_mass);
        }
        self->level[at] = 0.0;
    } else if (masked > 0) {
        mask(self, at, &level);
    } else {
        find_level(&level);
    }
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        gra_sum_add(&total, self->policy[e]);
    }
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        self->policy[e] /= gra_sum_value(total); /* 1 but for the rounding of the level */
    }
}

/* V and W of a node from those of its choices. */
static void gather(const gra_tree_response *self, int64_t at, double *value, double *weight)
{
    const gra_node *node = &self->tree->node[at];
    gra_sum v = {0.0, 0.0}, w = {0.0, 0.0};
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        gra_sum_add_product(&v, self->policy[e], self->policy[e] > 0.0 ? self->value[e] : 0.0);
        gra_sum_add_product(&w, self->policy[e], self->weight[e]);
    }
    *value = gra_sum_value(v);
    *weight = gra_sum_value(w);
}

/* The V and W of the edges of a node, whose children are known. */
static void look_down(gra_tree_response *self, int64_t at, const double *advantage)
{
    const gra_tree *tree = self->tree;
    const gra_node *node = &tree->node[at];
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        int64_t leaf = tree->edge[e].first;
        if (tree->edge[e].node >= 0) {
            gather(self, tree->edge[e].node, &self->value[e], &self->weight[e]);
        } else {
            self->weight[e] = tree->weight[leaf];
            self->value[e] = tree->weight[leaf] * advantage[leaf];
        }
    }
}

/* The logarithm of each leaf's probability: down from the root. */
static void multiply_down(gra_tree_response *self)
{
    const gra_tree *tree = self->tree;
    for (int64_t i = 0; i < tree->leaves; i++) {
        self->log_policy[i] = 0.0;
    }
    for (int64_t e = 0; e < tree->edges; e++) {
        double step =
            self->policy[e] > 0.0 ? log(self->policy[e]) : tree->edge[e].log_mass + self->ratio[e];
        for (int64_t i = tree->edge[e].first; i < tree->edge[e].last; i++) {
            self->log_policy[i] += step;
        }
    }
}

void gra_tree_respond(gra_tree_response *self, const double *advantage)
{
    for (int64_t at = self->tree->nodes - 1; at >= 0; at--) {
        look_down(self, at, advantage);
        respond_at(self, at);
    }
    multiply_down(self);
}

/* ---- its changes ---------------------------------------------------------------------------- */

/* How much an edge gives way, 1/(beta W g' + alpha); 0 for what is masked, or holds nothing. */
static double compliance(const gra_tree_response *of, int64_t e, double *g)
{
    double slope = 0.0;
    *g = is_masked(of, e) ? 0.0 : force(of->law, of->ratio[e], &slope);
    if (is_masked(of, e) || !(of->policy[e] > 0.0)) {
        *g = 0.0;
        return 0.0;
    }
    double stiff = of->beta * of->weight[e] * slope + alpha_of(of);
    return stiff > 0.0 ? 1.0 / stiff : 0.0;
}

/* What changes at the edges: V, W, log pi_ref(a|s) and log pi(a|s). */
typedef struct moving {
    double *value, *weight, *mass, *step;
} moving;

/* dV and dW of an edge from those of the node that it leads to, or from its leaf. */
static void move_edge(const gra_tree_response *self, const gra_tree_change *by, int64_t e,
                      const moving *m)
{
    const gra_tree *tree = self->tree;
    const gra_edge *edge = &tree->edge[e];
    m->value[e] = m->weight[e] = 0.0;
    if (edge->node < 0) {
        int64_t leaf = edge->first;
        m->weight[e] = by->weight != NULL ? by->weight[leaf] : 0.0;
        m->value[e] = (by->advantage != NULL ? tree->weight[leaf] * by->advantage[leaf] : 0.0) +
                      (by->weight != NULL ? by->weight[leaf] * by->at[leaf] : 0.0);
        return;
    }
    const gra_node *below = &tree->node[edge->node];
    for (int64_t b = below->first; b < below->first + below->count; b++) {
        double p = self->policy[b];
        if (p > 0.0) {
            m->value[e] += p * (m->value[b] + m->step[b] * self->value[b]);
            m->weight[e] += p * (m->weight[b] + m->step[b] * self->weight[b]);
        }
    }
}

/* d log pi_ref(a|s), from that of the leaves. */
static void move_masses(const gra_tree *tree, const gra_node *node, const double *log_reference,
                        const double *leaf_mass, double *mass)
{
    double all = 0.0;
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        const gra_edge *edge = &tree->edge[e];
        double sum = 0.0, held = 0.0;
        for (int64_t i = edge->first; i < edge->last; i++) {
            double share = exp(leaf_mass[i] - leaf_mass[edge->first]);
            held += share;
            sum += share * log_reference[i];
        }
        mass[e] = sum / held;
        all += exp(edge->log_mass) * mass[e];
    }
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        mass[e] -= all;
    }
}

/* d log pi of the edges of a node: all of them move by what they give way to, but for the change of
 * c, which keeps their sum. What is masked has what the others leave. */
static void move_node(const gra_tree_response *self, const gra_tree_change *by, int64_t at,
                      const moving *m)
{
    const gra_node *node = &self->tree->node[at];
    double give = 0.0, moved = 0.0, masked = 0.0, masked_mass = 0.0;
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        double g, h = compliance(self, e, &g), mass = m->mass[e], p = self->policy[e];
        double pull = m->value[e] - self->beta * g * m->weight[e] - alpha_of(self) * mass +
                      (by->pull != NULL ? by->pull[e] : 0.0);
        int is_free = is_masked(self, e);
        m->step[e] = is_free ? 0.0 : mass + h * pull;
        give += p * h;
        moved += p > 0.0 && !is_free ? p * m->step[e] : 0.0;
        masked += is_free ? p : 0.0;
        masked_mass += is_free ? p * mass : 0.0;
    }
    double level = masked > 0.0 || !(give > 0.0) ? 0.0 : moved / give;
    for (int64_t e = node->first; e < node->first + node->count; e++) {
        double g, h = compliance(self, e, &g);
        m->step[e] = is_masked(self, e)
                         ? (masked > 0.0 ? m->mass[e] - (moved + masked_mass) / masked : 0.0)
                         : m->step[e] - h * level;
    }
}

int gra_tree_move(const gra_tree_response *self, const gra_tree_change *by, double *policy,
                  gra_arena *arena)
{
    const gra_tree *tree = self->tree;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *all = gra_arena_doubles(arena, 4 * tree->edges);
    if (all == NULL) {
        return 0;
    }
    const moving m = {all, all + tree->edges, all + 2 * tree->edges, all + 3 * tree->edges};
    memset(all, 0, (size_t)(4 * tree->edges) * sizeof(double));
    for (int64_t at = tree->nodes - 1; at >= 0; at--) {
        const gra_node *node = &tree->node[at];
        for (int64_t e = node->first; e < node->first + node->count; e++) {
            move_edge(self, by, e, &m);
        }
        if (by->log_reference != NULL) {
            move_masses(tree, node, by->log_reference, by->log_mass, m.mass);
        }
        move_node(self, by, at, &m);
    }
    for (int64_t i = 0; i < tree->leaves; i++) {
        policy[i] = 0.0;
    }
    for (int64_t e = 0; e < tree->edges; e++) {
        for (int64_t i = tree->edge[e].first; i < tree->edge[e].last; i++) {
            policy[i] += m.step[e];
        }
    }
    for (int64_t i = 0; i < tree->leaves; i++) {
        policy[i] *= exp(self->log_policy[i]);
    }
    gra_arena_rewind(arena, mark);
    return 1;
}

int gra_tree_slopes(const gra_tree_response *self, double *out, gra_arena *arena)
{
    int64_t n = self->tree->leaves;
    gra_arena_mark_t mark = gra_arena_mark(arena);
    double *unit = gra_arena_doubles(arena, n), *column = gra_arena_doubles(arena, n);
    int done = unit != NULL && column != NULL;
    const gra_tree_change by = {.advantage = unit};
    for (int64_t j = 0; done && j < n; j++) {
        unit[j] = 0.0;
    }
    for (int64_t j = 0; done && j < n; j++) {
        unit[j] = 1.0;
        done = gra_tree_move(self, &by, column, arena);
        for (int64_t i = 0; done && i < n; i++) {
            out[i * n + j] = column[i];
        }
        unit[j] = 0.0;
    }
    gra_arena_rewind(arena, mark);
    return done;
}

/* ---- a policy as it is ---------------------------------------------------------------------- */

void gra_tree_observe(gra_tree_response *self, const double *policy, const double *advantage)
{
    const gra_tree *tree = self->tree;
    for (int64_t at = tree->nodes - 1; at >= 0; at--) {
        const gra_node *node = &tree->node[at];
        int64_t end = node->first + node->count;
        double all = 0.0;
        for (int64_t e = node->first; e < end; e++) {
            const gra_edge *edge = &tree->edge[e];
            self->policy[e] = gra_total(policy + edge->first, edge->last - edge->first);
            all += self->policy[e];
        }
        for (int64_t e = node->first; e < end; e++) {
            double mass = tree->edge[e].log_mass;
            self->policy[e] = all > 0.0 ? self->policy[e] / all : exp(mass);
            self->ratio[e] = all > 0.0 ? log(self->policy[e]) - mass : 0.0;
        }
        look_down(self, at, advantage);
        gra_sum level = {0.0, 0.0};
        for (int64_t e = node->first; e < end; e++) {
            double slope = 0.0,
                   g = is_masked(self, e) ? 0.0 : force(self->law, self->ratio[e], &slope),
                   bonus = self->ratio[e] + tree->edge[e].log_mass,
                   term = self->value[e] - self->beta * self->weight[e] * g -
                          (alpha_of(self) > 0.0 ? alpha_of(self) * bonus : 0.0);
            gra_sum_add_product(&level, self->policy[e], self->policy[e] > 0.0 ? term : 0.0);
        }
        self->level[at] = gra_sum_value(level);
    }
    multiply_down(self);
}

double gra_tree_residual(const gra_tree_response *self)
{
    const gra_tree *tree = self->tree;
    double worst = 0.0;
    for (int64_t at = 0; at < tree->nodes; at++) {
        for (int64_t e = tree->node[at].first; e < tree->node[at].first + tree->node[at].count;
             e++) {
            const gra_edge *edge = &tree->edge[e];
            double reached = 0.0, slope = 0.0;
            for (int64_t i = edge->first; i < edge->last; i++) {
                reached += exp(self->log_policy[i]);
            }
            double g = is_masked(self, e) ? 0.0 : force(self->law, self->ratio[e], &slope),
                   bonus = alpha_of(self) > 0.0 ? alpha_of(self) * (self->ratio[e] + edge->log_mass)
                                                : 0.0,
                   off =
                       self->value[e] - self->beta * self->weight[e] * g - bonus - self->level[at];
            worst = reached > 0.0 ? fmax(worst, fabs(reached * off) / self->beta) : worst;
        }
    }
    return worst;
}

double gra_tree_pull(const gra_tree_response *self, const gra_penalty *law, int64_t edge)
{
    double slope = 0.0;
    if (is_masked(self, edge) || !(self->policy[edge] > 0.0)) {
        return 0.0;
    }
    return law != NULL ? -self->weight[edge] * force(law, self->ratio[edge], &slope)
                       : -(self->ratio[edge] + self->tree->edge[edge].log_mass);
}
