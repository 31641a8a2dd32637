#include "input/tables.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "input/gathered.h"
#include "input/rows.h"

typedef struct table {
    rows rows; /* of the file at hand */
    const char *name;
    const table_source *source;
    int counted; /* battles already added up */
    /* positions of the columns, -1 where absent */
    int64_t prompt, reward, logprob, outcome, count, reference, first, second, winner, wins, losses,
        ties;
    names prompts;
    list contexts; /* of gathered, one per prompt */
} table;

static void fail_for_memory(table *self)
{
    fault_add(&self->rows.fatal, self->rows.line, "memory", "out of memory");
}

/* ---- columns --------------------------------------------------------------------------------- */

/* The position of a column that must be there; `option` says what for. */
static int64_t need_column(table *self, const char *name, const char *option)
{
    int64_t at = names_find(&self->rows.header, name);
    if (at < 0) {
        fault_add(&self->rows.fatal, self->rows.line, "column",
                  "there is no column \"%.60s\" (--%s): the header names %zu others", name, option,
                  self->rows.header.keys.count);
    }
    return at;
}

static int64_t optional_column(table *self, const char *name, const char *option)
{
    return name != NULL ? need_column(self, name, option) : -1;
}

static void find_battle_columns(table *self)
{
    const columns *wanted = self->source->wanted;
    const names *header = &self->rows.header;
    self->prompt = optional_column(self, wanted->prompt, "prompt");
    self->count = wanted->weight != NULL ? need_column(self, wanted->weight, "weight")
                                         : names_find(header, "weight");
    self->first = names_find(header, "model_a");
    self->second = names_find(header, "model_b");
    self->winner = names_find(header, "winner");
    if (self->first >= 0 && self->second >= 0 && self->winner >= 0) {
        return;
    }
    self->counted = 1;
    self->first = names_find(header, "i");
    self->second = names_find(header, "j");
    self->wins = names_find(header, "wins_i");
    self->losses = names_find(header, "wins_j");
    self->ties = names_find(header, "ties");
    if (self->first < 0 || self->second < 0 || self->wins < 0 || self->losses < 0) {
        fault_add(&self->rows.fatal, self->rows.line, "column",
                  "the header fits no table of battles: expected model_a, model_b, winner or i, j, "
                  "wins_i, wins_j, ties");
    }
}

static void find_columns(void *user)
{
    table *self = user;
    const columns *wanted = self->source->wanted;
    self->counted = 0;
    self->prompt = self->reward = self->logprob = self->outcome = self->count = self->reference =
        self->first = self->second = self->winner = self->wins = self->losses = self->ties = -1;
    if (self->source->battles) {
        find_battle_columns(self);
        return;
    }
    self->prompt = need_column(self, wanted->prompt != NULL ? wanted->prompt : "prompt", "prompt");
    self->reward = need_column(self, wanted->reward != NULL ? wanted->reward : "reward", "reward");
    self->logprob = optional_column(self, wanted->logprob, "logprob");
    self->outcome = optional_column(self, wanted->outcome, "outcome");
    self->count = optional_column(self, wanted->count, "count");
    self->reference = optional_column(self, wanted->reference, "reference");
}

/* ---- a row ----------------------------------------------------------------------------------- */

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
    if (column >= 0 && (!parse_field(self->rows.fields[column], &value) || value < least)) {
        fault_add(&into->wrong, self->rows.line, "value",
                  "column \"%.60s\" holds \"%.60s\": expected a number%s",
                  names_key(&self->rows.header, column), self->rows.fields[column],
                  least == 0.0 ? " >= 0" : "");
        value = 0.0;
    }
    return value;
}

static void add_entry(table *self, gathered *into, entry added)
{
    entry *place =
        added.first >= 0 && added.second >= 0 ? list_add(&into->entries, sizeof *place) : NULL;
    if (place == NULL) {
        fail_for_memory(self);
    } else {
        *place = added;
    }
}

static void take_battle(table *self, gathered *into)
{
    const char *const *fields = self->rows.fields;
    entry added = {names_number(&into->outcomes, fields[self->first]),
                   names_number(&into->outcomes, fields[self->second]), 0.0, 0.0, 0.0};
    double weight = number_at(self, into, self->count, 1.0, 0.0);
    if (added.first == added.second && added.first >= 0) {
        fault_add(&into->wrong, self->rows.line, "value",
                  "\"%.60s\" plays itself: expected two different names", fields[self->first]);
    }
    if (self->counted) {
        added.a = weight * number_at(self, into, self->wins, 0.0, 0.0);
        added.b = weight * number_at(self, into, self->losses, 0.0, 0.0);
        added.c = weight * number_at(self, into, self->ties, 0.0, 0.0);
    } else if (strcmp(fields[self->winner], "model_a") == 0) {
        added.a = weight;
    } else if (strcmp(fields[self->winner], "model_b") == 0) {
        added.b = weight;
    } else if (strncmp(fields[self->winner], "tie", 3) == 0) {
        added.c = weight;
    } else {
        fault_add(&into->wrong, self->rows.line, "value",
                  "winner is \"%.60s\": expected model_a, model_b or tie", fields[self->winner]);
    }
    add_entry(self, into, added);
}

static void take_rollout(table *self, gathered *into)
{
    char number[32];
    (void)snprintf(number, sizeof number, "%zu", into->entries.count);
    const char *label = self->outcome >= 0 ? self->rows.fields[self->outcome] : number;
    entry added = {names_number(&into->outcomes, label), 0, 0.0, 0.0, 0.0};
    added.a = number_at(self, into, self->reward, 0.0, -INFINITY);
    added.b = number_at(self, into, self->count, 1.0, 0.0);
    added.c = self->logprob >= 0 ? number_at(self, into, self->logprob, 0.0, -INFINITY)
                                 : number_at(self, into, self->reference, 0.0, 0.0);
    add_entry(self, into, added);
}

/* The context that a row belongs to, new or known; NULL when something is wrong. */
static gathered *context_of_row(table *self)
{
    const char *prompt = "";
    if (self->prompt >= self->rows.count) {
        fault_add(&self->rows.fatal, self->rows.line, "shape",
                  "the row has %lld fields: expected %zu as in the header",
                  (long long)self->rows.count, self->rows.header.keys.count);
        return NULL;
    }
    if (self->prompt >= 0) {
        prompt = self->rows.fields[self->prompt];
    }
    int64_t at = names_number(&self->prompts, prompt);
    if (at < 0 || ((size_t)at == self->contexts.count &&
                   list_add(&self->contexts, sizeof(gathered)) == NULL)) {
        fail_for_memory(self);
        return NULL;
    }
    return (gathered *)self->contexts.items + at;
}

static void take_row(void *user)
{
    table *self = user;
    gathered *into = context_of_row(self);
    if (into == NULL) {
        return;
    }
    if (into->line == 0) {
        into->line = self->rows.line;
        into->name = self->name;
    }
    if (self->rows.count != (int64_t)self->rows.header.keys.count) {
        fault_add(&into->wrong, self->rows.line, "shape",
                  "the row has %lld fields: expected %zu as in the header",
                  (long long)self->rows.count, self->rows.header.keys.count);
    } else {
        (self->source->battles ? take_battle : take_rollout)(self, into);
    }
    if (into->wrong.status != NULL && into->wrong_name == NULL) {
        into->wrong_name = self->name;
    }
}

/* ---- a table --------------------------------------------------------------------------------- */

static int build(table *self, gathered *g, context *out)
{
    long line = self->rows.line;
    int given = self->logprob >= 0     ? GIVEN_LOGPROBS
                : self->reference >= 0 ? GIVEN_REFERENCE
                                       : GIVEN_NOTHING;
    if (self->source->battles) {
        if (out->settings.model != MODEL_NONE && out->settings.model != MODEL_PAIRWISE) {
            fault_add(&g->wrong, line, "contradiction",
                      "battles are pairwise preferences: expected no other --model");
        }
        setting_give(&out->settings, SETTING_MODEL, MODEL_PAIRWISE);
    }
    if (g->wrong.status != NULL) {
        return 0;
    }
    return self->source->battles ? gathered_battles(g, line, out)
                                 : gathered_rollouts(g, given, line, out);
}

static int hand_on(table *self, size_t at)
{
    const table_source *source = self->source;
    gathered *g = (gathered *)self->contexts.items + at;
    context built = {.settings = *source->defaults};
    text id = {0}, place = {0};
    const long refused = memory_refused();
    if (self->prompt >= 0) {
        text_quoted(&id, names_key(&self->prompts, (int64_t)at));
        built.id = id.bytes;
    }
    int good = build(self, g, &built);
    const char *wrong_name = g->wrong_name != NULL ? g->wrong_name : self->name;
    text_format(&place, "%s:%ld", good ? g->name : wrong_name, good ? g->line : g->wrong.line);
    const char *status = good ? NULL : g->wrong.status, *why = good ? NULL : g->wrong.message.bytes;
    if (memory_refused() != refused) {
        status = "memory";
        why = "out of memory";
    }
    int more = source->sink(source->user, &built, place.bytes != NULL ? place.bytes : g->name,
                            status, why);
    context_free(&built);
    text_free(&place);
    return more;
}

/* Reads the rows of a file. Returns 0, having said why, when it cannot be read. */
static int read_rows(table *self, const table_file *from)
{
    context nothing = {.id = NULL};
    rows_free(&self->rows);
    self->name = from->name;
    self->rows = (rows){.on_header = find_columns, .on_row = take_row, .user = self};
    const long refused = memory_refused();
    rows_read(&self->rows, from->file);
    if (memory_refused() != refused) {
        fail_for_memory(self);
    }
    const fault *fatal = &self->rows.fatal;
    if (fatal->status != NULL) {
        text place = {0};
        text_format(&place, "%s:%ld", from->name, fatal->line);
        (void)self->source->sink(self->source->user, &nothing,
                                 place.bytes != NULL ? place.bytes : from->name, fatal->status,
                                 fatal->message.bytes);
        text_free(&place);
    }
    return fatal->status == NULL;
}

int read_table(const table_file *files, int count, const table_source *source)
{
    table *self = memory_calloc(1, sizeof *self);
    context nothing = {.id = NULL};
    int whole = 1;
    if (self == NULL) {
        (void)source->sink(source->user, &nothing, files[0].name, "memory", "out of memory");
        return 0;
    }
    self->source = source;
    for (int i = 0; whole && i < count; i++) {
        whole = read_rows(self, &files[i]);
    }
    for (size_t i = 0; i < self->contexts.count; i++) {
        whole = whole && hand_on(self, i);
        gathered_free((gathered *)self->contexts.items + i);
    }
    names_free(&self->prompts);
    list_free(&self->contexts);
    rows_free(&self->rows);
    free(self);
    return whole;
}
