#include "input/tables.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <csv.h>

/* ---- names to numbers
 * ------------------------------------------------------------------------------------- */

typedef struct names {
    char **keys;
    size_t *slots; /* index + 1, 0 for empty; a power of two of them */
    size_t count, room, slot_count;
} names;

static uint64_t hash_of(const char *key)
{
    uint64_t hash = UINT64_C(1469598103934665603);
    for (; *key != '\0'; key++) {
        hash = (hash ^ (unsigned char)*key) * UINT64_C(1099511628211);
    }
    return hash ^ (hash >> 31);
}

static int names_grow(names *self)
{
    size_t slots = self->slot_count > 0 ? 2 * self->slot_count : 16;
    size_t *fresh = calloc(slots, sizeof *fresh);
    if (fresh == NULL) {
        return 0;
    }
    for (size_t i = 0; i < self->count; i++) {
        size_t at = hash_of(self->keys[i]) & (slots - 1);
        while (fresh[at] != 0) {
            at = (at + 1) & (slots - 1);
        }
        fresh[at] = i + 1;
    }
    free(self->slots);
    self->slots = fresh;
    self->slot_count = slots;
    return 1;
}

/* The number of a name, adding it when it is new; -1 when memory is short. */
static int64_t names_number(names *self, const char *key)
{
    if (2 * (self->count + 1) > self->slot_count && !names_grow(self)) {
        return -1;
    }
    size_t at = hash_of(key) & (self->slot_count - 1);
    while (self->slots[at] != 0) {
        if (strcmp(self->keys[self->slots[at] - 1], key) == 0) {
            return (int64_t)self->slots[at] - 1;
        }
        at = (at + 1) & (self->slot_count - 1);
    }
    if (self->count == self->room) {
        size_t room = self->room > 0 ? 2 * self->room : 16;
        char **keys = realloc(self->keys, room * sizeof *keys);
        if (keys == NULL) {
            return -1;
        }
        self->keys = keys;
        self->room = room;
    }
    char *copy = strdup(key);
    if (copy == NULL) {
        return -1;
    }
    self->keys[self->count] = copy;
    self->slots[at] = ++self->count;
    return (int64_t)self->count - 1;
}

static void names_free(names *self)
{
    for (size_t i = 0; i < self->count; i++) {
        free(self->keys[i]);
    }
    free(self->keys);
    free(self->slots);
    memset(self, 0, sizeof *self);
}

/* ---- a table, row by row
 * ------------------------------------------------------------------------------------ */

/* Two numbers per side or one reward with its weights: what a row says of its context. */
typedef struct entry {
    int64_t first, second; /* outcomes; second is for battles */
    double a, b, c; /* rollouts: reward, count, reference or logprob; battles: wins, losses, ties */
} entry;

typedef struct gathered {
    names outcomes;
    entry *entries;
    size_t count, room;
    long line;  /* of the first row */
    text wrong; /* why the context cannot be built, if anything */
    char status[24];
    long wrong_line;
} gathered;

enum { MOST_COLUMNS = 4096 };
/* A field longer than this is refused. */
static const size_t MOST_FIELD_BYTES = (size_t)16 << 20;

typedef struct table {
    const char *name;
    const columns *wanted;
    names header;
    int have_header, battles, counted; /* counted: battles already added up */
    /* positions of the columns, -1 where absent */
    int64_t prompt, reward, logprob, outcome, count, reference, first, second, winner, wins, losses,
        ties;
    names prompts;
    gathered *contexts;
    size_t room;
    /* the row under way */
    char *fields[MOST_COLUMNS];
    int64_t field_count;
    long line, row_line;
    text fatal;
    char fatal_status[24];
    long fatal_line;
} table;

static void fail_table(table *self, const char *status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fail_context(table *self, gathered *into, const char *status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define KEEP_FIRST(target, state, at, ...)                                                         \
    do {                                                                                           \
        if ((target)->length == 0) {                                                               \
            va_list arguments;                                                                     \
            char message[512];                                                                     \
            va_start(arguments, format);                                                           \
            (void)vsnprintf(message, sizeof message, format, arguments);                           \
            va_end(arguments);                                                                     \
            text_string((target), message);                                                        \
            (void)snprintf((state), sizeof(state), "%s", status);                                  \
            (at) = self->row_line;                                                                 \
        }                                                                                          \
    } while (0)

static void fail_table(table *self, const char *status, const char *format, ...)
{
    KEEP_FIRST(&self->fatal, self->fatal_status, self->fatal_line);
}

static void fail_context(table *self, gathered *into, const char *status, const char *format, ...)
{
    KEEP_FIRST(&into->wrong, into->status, into->wrong_line);
}

static int64_t column_at(const table *self, const char *name)
{
    for (size_t i = 0; name != NULL && i < self->header.count; i++) {
        if (strcmp(self->header.keys[i], name) == 0) {
            return (int64_t)i;
        }
    }
    return -1;
}

/* The position of a column that must be there; `expected` says what for. */
static int64_t need_column(table *self, const char *name, const char *option)
{
    int64_t at = column_at(self, name);
    if (at < 0) {
        fail_table(self, "column",
                   "there is no column \"%.60s\" (--%s): the header names %zu others", name, option,
                   self->header.count);
    }
    return at;
}

static int64_t optional_column(table *self, const char *name, const char *option)
{
    return name != NULL ? need_column(self, name, option) : -1;
}

static void find_columns(table *self)
{
    const columns *wanted = self->wanted;
    self->prompt = self->reward = self->logprob = self->outcome = self->count = self->reference =
        -1;
    self->first = self->second = self->winner = self->wins = self->losses = self->ties = -1;
    if (self->battles) {
        self->prompt = optional_column(self, wanted->prompt, "prompt");
        self->count = wanted->weight != NULL ? need_column(self, wanted->weight, "weight")
                                             : column_at(self, "weight");
        self->first = column_at(self, "model_a");
        self->second = column_at(self, "model_b");
        self->winner = column_at(self, "winner");
        if (self->first >= 0 && self->second >= 0 && self->winner >= 0) {
            return;
        }
        self->counted = 1;
        self->first = column_at(self, "i");
        self->second = column_at(self, "j");
        self->wins = column_at(self, "wins_i");
        self->losses = column_at(self, "wins_j");
        self->ties = column_at(self, "ties");
        if (self->first < 0 || self->second < 0 || self->wins < 0 || self->losses < 0) {
            fail_table(self, "column",
                       "the header fits no table of battles: expected model_a, model_b, winner or "
                       "i, j, wins_i, wins_j, ties");
        }
        return;
    }
    self->prompt = need_column(self, wanted->prompt != NULL ? wanted->prompt : "prompt", "prompt");
    self->reward = need_column(self, wanted->reward != NULL ? wanted->reward : "reward", "reward");
    self->logprob = optional_column(self, wanted->logprob, "logprob");
    self->outcome = optional_column(self, wanted->outcome, "outcome");
    self->count = optional_column(self, wanted->count, "count");
    self->reference = optional_column(self, wanted->reference, "reference");
}

static int parse_field(const char *field, double *out)
{
    char *end;
    while (isspace((unsigned char)*field)) {
        field++;
    }
    *out = strtod(field, &end);
    while (isspace((unsigned char)*end)) {
        end++;
    }
    return *field != '\0' && *end == '\0' && isfinite(*out);
}

/* A number of this row; marks the context and gives 0 when it is none, or below `least`. */
static double number_at(table *self, gathered *into, int64_t column, double absent, double least)
{
    double value = absent;
    if (column >= 0 && (!parse_field(self->fields[column], &value) || value < least)) {
        fail_context(self, into, "value", "column \"%.60s\" holds \"%.60s\": expected a number%s",
                     self->header.keys[column], self->fields[column], least == 0.0 ? " >= 0" : "");
        value = 0.0;
    }
    return value;
}

static int add_entry(gathered *into, entry added)
{
    if (into->count == into->room) {
        size_t room = into->room > 0 ? 2 * into->room : 16;
        entry *entries = realloc(into->entries, room * sizeof *entries);
        if (entries == NULL) {
            return 0;
        }
        into->entries = entries;
        into->room = room;
    }
    into->entries[into->count++] = added;
    return 1;
}

static void take_battle(table *self, gathered *into)
{
    const char *one = self->fields[self->first], *two = self->fields[self->second];
    entry added = {names_number(&into->outcomes, one), names_number(&into->outcomes, two), 0.0, 0.0,
                   0.0};
    double weight = number_at(self, into, self->count, 1.0, 0.0);
    if (added.first < 0 || added.second < 0) {
        fail_table(self, "memory", "out of memory");
        return;
    }
    if (added.first == added.second) {
        fail_context(self, into, "value", "\"%.60s\" plays itself: expected two different names",
                     one);
    }
    if (self->counted) {
        added.a = weight * number_at(self, into, self->wins, 0.0, 0.0);
        added.b = weight * number_at(self, into, self->losses, 0.0, 0.0);
        added.c = weight * number_at(self, into, self->ties, 0.0, 0.0);
    } else {
        const char *winner = self->fields[self->winner];
        if (strcmp(winner, "model_a") == 0) {
            added.a = weight;
        } else if (strcmp(winner, "model_b") == 0) {
            added.b = weight;
        } else if (strncmp(winner, "tie", 3) == 0) {
            added.c = weight;
        } else {
            fail_context(self, into, "value",
                         "winner is \"%.60s\": expected model_a, model_b or tie", winner);
        }
    }
    if (!add_entry(into, added)) {
        fail_table(self, "memory", "out of memory");
    }
}

static void take_rollout(table *self, gathered *into)
{
    char number[32];
    (void)snprintf(number, sizeof number, "%zu", into->count);
    const char *label = self->outcome >= 0 ? self->fields[self->outcome] : number;
    entry added = {names_number(&into->outcomes, label), 0, 0.0, 0.0, 0.0};
    added.a = number_at(self, into, self->reward, 0.0, -INFINITY);
    added.b = number_at(self, into, self->count, 1.0, 0.0);
    added.c = self->logprob >= 0 ? number_at(self, into, self->logprob, 0.0, -INFINITY)
                                 : number_at(self, into, self->reference, 0.0, 0.0);
    if (added.first < 0 || !add_entry(into, added)) {
        fail_table(self, "memory", "out of memory");
    }
}

static void take_row(table *self)
{
    int64_t width = (int64_t)self->header.count;
    const char *prompt = "";
    if (self->prompt >= 0) {
        if (self->prompt >= self->field_count) {
            fail_table(self, "shape", "the row has %lld fields: expected %lld as in the header",
                       (long long)self->field_count, (long long)width);
            return;
        }
        prompt = self->fields[self->prompt];
    }
    int64_t at = names_number(&self->prompts, prompt);
    if (at >= 0 && (size_t)at == self->room) {
        size_t room = self->room > 0 ? 2 * self->room : 16;
        gathered *contexts = realloc(self->contexts, room * sizeof *contexts);
        if (contexts == NULL) {
            at = -1;
        } else {
            memset(contexts + self->room, 0, (room - self->room) * sizeof *contexts);
            self->contexts = contexts;
            self->room = room;
        }
    }
    if (at < 0) {
        fail_table(self, "memory", "out of memory");
        return;
    }
    gathered *into = &self->contexts[at];
    into->line = into->line == 0 ? self->row_line : into->line;
    if (self->field_count != width) {
        fail_context(self, into, "shape", "the row has %lld fields: expected %lld as in the header",
                     (long long)self->field_count, (long long)width);
        return;
    }
    if (self->battles) {
        take_battle(self, into);
    } else {
        take_rollout(self, into);
    }
}

static void on_field(void *bytes, size_t length, void *user)
{
    table *self = user;
    if (self->field_count >= MOST_COLUMNS) {
        fail_table(self, "shape", "the row has more than %d fields", MOST_COLUMNS);
        return;
    }
    char *copy = malloc(length + 1);
    if (copy == NULL) {
        fail_table(self, "memory", "out of memory");
        return;
    }
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    self->fields[self->field_count++] = copy;
}

static void on_row(int terminator, void *user)
{
    table *self = user;
    (void)terminator;
    if (self->fatal.length == 0 && !self->have_header) {
        for (int64_t i = 0; i < self->field_count; i++) {
            size_t before = self->header.count;
            if (names_number(&self->header, self->fields[i]) < 0) {
                fail_table(self, "memory", "out of memory");
            } else if (self->header.count == before) {
                fail_table(self, "column", "the header names \"%.60s\" twice", self->fields[i]);
            }
        }
        self->have_header = 1;
        if (self->fatal.length == 0) {
            find_columns(self);
        }
    } else if (self->fatal.length == 0) {
        take_row(self);
    }
    for (int64_t i = 0; i < self->field_count; i++) {
        free(self->fields[i]);
    }
    self->field_count = 0;
    self->row_line = self->line + 1;
}

/* Up to `room` bytes of a line into `piece`; 0 at the end of the file. */
static size_t read_piece(FILE *file, char *piece, size_t room)
{
    size_t length = 0;
    for (int byte; length < room && (byte = getc_unlocked(file)) != EOF;) {
        piece[length++] = (char)byte;
        if (byte == '\n') {
            break;
        }
    }
    return length;
}

/* Feeds the file to the parser a line, or a piece of one, at a time, so that rows know their line.
 */
static void parse_table(table *self, FILE *file)
{
    struct csv_parser parser;
    enum { PIECE = 1 << 16 };
    char *piece = malloc(PIECE);
    int first = 1;
    if (piece == NULL || csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0) {
        free(piece);
        fail_table(self, "memory", "out of memory");
        return;
    }
    self->line = 0;
    self->row_line = 1;
    size_t length;
    for (int at_start = 1;
         self->fatal.length == 0 && (length = read_piece(file, piece, PIECE)) > 0;) {
        const char *bytes = piece;
        if (memchr(piece, '\0', length) != NULL) {
            self->row_line = self->line + at_start;
            fail_table(self, "csv", "there is a NUL byte: expected text");
            break;
        }
        self->line += at_start;
        at_start = piece[length - 1] == '\n';
        if (first && length >= 3 && memcmp(piece, "\xef\xbb\xbf", 3) == 0) {
            bytes += 3;
            length -= 3;
        }
        first = 0;
        if (csv_parse(&parser, bytes, length, on_field, on_row, self) != length) {
            fail_table(
                self, csv_error(&parser) == CSV_EPARSE ? "csv" : "memory", "%s",
                csv_error(&parser) == CSV_EPARSE
                    ? "a quote stands inside a field or is not closed: expected \"\" inside quotes"
                    : "out of memory");
        } else if (csv_get_buffer_size(&parser) > MOST_FIELD_BYTES) {
            fail_table(self, "too_large", "a field is longer than %zu bytes", MOST_FIELD_BYTES);
        }
    }
    if (self->fatal.length == 0 && ferror(file)) {
        fail_table(self, "read", "cannot be read: %s", strerror(errno));
    }
    if (self->fatal.length == 0 && csv_fini(&parser, on_field, on_row, self) != 0) {
        fail_table(self, "csv", "the file ends inside quotes");
    }
    if (self->fatal.length == 0 && !self->have_header) {
        self->row_line = 1;
        fail_table(self, "empty", "the file is empty: expected a header and rows");
    } else if (self->fatal.length == 0 && self->prompts.count == 0) {
        fail_table(self, "empty", "there is a header but no row");
    }
    csv_free(&parser);
    free(piece);
}

/* ---- from rows to a context
 * ---------------------------------------------------------------------------------- */

static int take_labels(const gathered *g, context *out)
{
    size_t n = g->outcomes.count;
    out->labels = calloc(n > 0 ? n : 1, sizeof *out->labels);
    out->outcomes = (int64_t)n;
    for (size_t o = 0; out->labels != NULL && o < n; o++) {
        out->labels[o] = strdup(g->outcomes.keys[o]);
        if (out->labels[o] == NULL) {
            return 0;
        }
    }
    return out->labels != NULL;
}

static int build_battles(table *self, gathered *g, context *out)
{
    size_t n = g->outcomes.count;
    double *games = n <= 30000 ? calloc(n * n, sizeof(double)) : NULL;
    out->margins = n <= 30000 ? calloc(n * n, sizeof(double)) : NULL;
    if (games == NULL || out->margins == NULL) {
        free(games);
        fail_context(self, g, "memory", "no memory for a matrix over %zu outcomes", n);
        return 0;
    }
    for (size_t e = 0; e < g->count; e++) {
        const entry *row = &g->entries[e];
        size_t i = (size_t)row->first, j = (size_t)row->second;
        double lead = row->a - row->b, all = row->a + row->b + row->c;
        out->margins[i * n + j] += lead;
        out->margins[j * n + i] -= lead;
        games[i * n + j] += all;
        games[j * n + i] += all;
    }
    for (size_t i = 0; i < n * n; i++) {
        out->margins[i] = games[i] > 0.0 ? out->margins[i] / games[i] : 0.0;
    }
    free(games);
    return 1;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Outcomes drawn with different rewards: a distribution over the levels seen (pairwise: groups of
 * two), or mean and variance for the limit. */
static int spread_rewards(table *self, gathered *g, context *out, double *weight)
{
    size_t n = g->outcomes.count;
    if (out->settings.has_model && out->settings.model == MODEL_LIMIT) {
        out->reward_variances = calloc(n, sizeof(double));
        if (out->reward_variances == NULL) {
            return 0;
        }
        memset(out->rewards, 0, n * sizeof(double));
        for (size_t e = 0; e < g->count; e++) {
            size_t o = (size_t)g->entries[e].first;
            out->rewards[o] += g->entries[e].a * (g->entries[e].b / weight[o]);
        }
        for (size_t e = 0; e < g->count; e++) {
            size_t o = (size_t)g->entries[e].first;
            double d = g->entries[e].a - out->rewards[o];
            out->reward_variances[o] += d * d * (g->entries[e].b / weight[o]);
        }
        return 1;
    }
    double *levels = malloc(g->count * sizeof *levels);
    size_t count = 0;
    if (levels == NULL) {
        return 0;
    }
    for (size_t e = 0; e < g->count; e++) {
        levels[e] = g->entries[e].a;
    }
    qsort(levels, g->count, sizeof *levels, compare_doubles);
    for (size_t e = 0; e < g->count; e++) {
        if (e == 0 || levels[e] != levels[count - 1]) {
            levels[count++] = levels[e];
        }
    }
    out->support = levels;
    out->levels = (int64_t)count;
    out->distribution = n <= SIZE_MAX / count ? calloc(n * count, sizeof(double)) : NULL;
    if (out->distribution == NULL) {
        return 0;
    }
    for (size_t e = 0; e < g->count; e++) {
        size_t o = (size_t)g->entries[e].first;
        const double *level =
            bsearch(&g->entries[e].a, levels, count, sizeof *levels, compare_doubles);
        out->distribution[o * count + (size_t)(level - levels)] += g->entries[e].b / weight[o];
    }
    free(out->rewards);
    out->rewards = NULL;
    if (out->settings.has_model && out->settings.model == MODEL_PAIRWISE) {
        out->settings.model = MODEL_GROUP;
        out->settings.has_group_size = 1;
        out->settings.group_size = 2;
    }
    (void)self;
    return 1;
}

static int build_rollouts(table *self, gathered *g, context *out)
{
    size_t n = g->outcomes.count;
    double *weight = calloc(n, sizeof *weight), total = 0.0;
    int *seen = calloc(n, sizeof *seen), spread = 0;
    out->rewards = calloc(n, sizeof(double));
    double *reference = calloc(n, sizeof *reference);
    if (self->logprob >= 0) {
        out->reference_logprobs = reference;
    } else {
        out->reference = reference;
    }
    if (weight == NULL || seen == NULL || out->rewards == NULL || reference == NULL) {
        free(weight);
        free(seen);
        fail_context(self, g, "memory", "out of memory");
        return 0;
    }
    for (size_t e = 0; e < g->count; e++) {
        const entry *row = &g->entries[e];
        size_t o = (size_t)row->first;
        if (seen[o] && fabs(row->c - reference[o]) > 1e-9 * fmax(1.0, fabs(row->c))) {
            fail_context(self, g, "value",
                         "outcome \"%.60s\" has %s %.17g and %.17g: expected one value",
                         g->outcomes.keys[o],
                         self->logprob >= 0 ? "log-probabilities" : "reference probabilities",
                         reference[o], row->c);
        }
        spread = spread || (seen[o] && row->a != out->rewards[o]);
        out->rewards[o] = seen[o] ? out->rewards[o] : row->a;
        reference[o] = seen[o] ? reference[o] : row->c;
        seen[o] = 1;
        weight[o] += row->b;
        total += row->b;
    }
    if (self->logprob < 0 && self->reference < 0) {
        for (size_t o = 0; o < n; o++) {
            reference[o] = total > 0.0 ? weight[o] / total : 0.0;
        }
        if (!(total > 0.0)) {
            fail_context(self, g, "value", "all counts are 0: expected one above");
        }
    }
    if (spread) {
        for (size_t o = 0; o < n; o++) {
            if (!(weight[o] > 0.0)) {
                fail_context(self, g, "value",
                             "outcome \"%.60s\" has several rewards and no count above 0",
                             g->outcomes.keys[o]);
            }
        }
        if (g->wrong.length == 0 && !spread_rewards(self, g, out, weight)) {
            fail_context(self, g, "memory", "out of memory");
        }
    }
    free(weight);
    free(seen);
    return g->wrong.length == 0;
}

static int hand_on(table *self, size_t at, const settings *defaults, context_sink sink, void *user)
{
    gathered *g = &self->contexts[at];
    context built;
    text id = {0}, place = {0};
    memset(&built, 0, sizeof built);
    built.settings = *defaults;
    if (self->prompt >= 0) {
        text_quoted(&id, self->prompts.keys[at]);
        built.id = id.bytes;
    }
    if (g->wrong.length == 0 && !take_labels(g, &built)) {
        fail_context(self, g, "memory", "out of memory");
    }
    if (self->battles && built.settings.has_model && built.settings.model != MODEL_PAIRWISE) {
        fail_context(self, g, "contradiction",
                     "battles are pairwise preferences: expected no other --model");
    }
    built.settings.has_model = built.settings.has_model || self->battles;
    built.settings.model = self->battles ? MODEL_PAIRWISE : built.settings.model;
    int good =
        g->wrong.length == 0 && (self->battles ? build_battles : build_rollouts)(self, g, &built);
    text_format(&place, "%s:%ld", self->name,
                good ? g->line : (g->wrong_line > 0 ? g->wrong_line : g->line));
    int more =
        sink(user, &built, place.bytes, good ? NULL : g->status, good ? NULL : g->wrong.bytes);
    context_free(&built);
    text_free(&place);
    return more;
}

static int read_table(FILE *file, const char *name, int battles, const columns *wanted,
                      const settings *defaults, context_sink sink, void *user)
{
    table *self = calloc(1, sizeof *self);
    context nothing;
    int whole;
    memset(&nothing, 0, sizeof nothing);
    if (self == NULL) {
        (void)sink(user, &nothing, name, "memory", "out of memory");
        return 0;
    }
    self->name = name;
    self->wanted = wanted;
    self->battles = battles;
    parse_table(self, file);
    whole = self->fatal.length == 0;
    if (!whole) {
        text place = {0};
        text_format(&place, "%s:%ld", name, self->fatal_line > 0 ? self->fatal_line : 1);
        (void)sink(user, &nothing, place.bytes, self->fatal_status, self->fatal.bytes);
        text_free(&place);
    }
    for (size_t i = 0; i < self->prompts.count; i++) {
        whole = whole && hand_on(self, i, defaults, sink, user);
        names_free(&self->contexts[i].outcomes);
        free(self->contexts[i].entries);
        text_free(&self->contexts[i].wrong);
    }
    for (int64_t i = 0; i < self->field_count; i++) {
        free(self->fields[i]);
    }
    names_free(&self->prompts);
    names_free(&self->header);
    free(self->contexts);
    text_free(&self->fatal);
    free(self);
    return whole;
}

int read_rollouts(FILE *file, const char *name, const columns *wanted, const settings *defaults,
                  context_sink sink, void *user)
{
    return read_table(file, name, 0, wanted, defaults, sink, user);
}

int read_battles(FILE *file, const char *name, const columns *wanted, const settings *defaults,
                 context_sink sink, void *user)
{
    return read_table(file, name, 1, wanted, defaults, sink, user);
}
