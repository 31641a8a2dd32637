#include "input/record.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/memory.h"

typedef struct reader {
    context *context;
    const char **status;
    text *message;
    int ignore_unknown; /* keys that nobody knows */
} reader;

/* Fails with a reason; returns 0. */
#define FAIL(r, name, ...)                                                                         \
    (*(r)->status = (name), text_clear((r)->message), text_format((r)->message, __VA_ARGS__), 0)

static const char *kind_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
    default:
        return "null";
    }
}

static double *allocate(size_t count)
{
    return count <= SIZE_MAX / sizeof(double)
               ? memory_malloc((count > 0 ? count : 1) * sizeof(double))
               : NULL;
}

/* An array of numbers into a new vector. */
static int read_vector(reader *r, const char *key, const json_t *value, double **out,
                       int64_t *count)
{
    if (!json_is_array(value)) {
        return FAIL(r, "shape", "%s is %s: expected an array of numbers", key, kind_of(value));
    }
    size_t n = json_array_size(value);
    double *numbers = allocate(n);
    if (numbers == NULL) {
        return FAIL(r, "memory", "out of memory");
    }
    *out = numbers;
    *count = (int64_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_number(item)) {
            return FAIL(r, "shape", "%s[%zu] is %s: expected a number", key, i, kind_of(item));
        }
        numbers[i] = json_number_value(item);
    }
    return 1;
}

/* An array of equally long arrays of numbers into a new row-major matrix. */
static int read_matrix(reader *r, const char *key, const json_t *value, double **out, int64_t *rows,
                       int64_t *columns)
{
    if (!json_is_array(value)) {
        return FAIL(r, "shape", "%s is %s: expected an array of rows", key, kind_of(value));
    }
    size_t n = json_array_size(value), m = n > 0 ? json_array_size(json_array_get(value, 0)) : 0;
    double *numbers = n == 0 || m <= SIZE_MAX / n ? allocate(n * m) : NULL;
    if (numbers == NULL) {
        return FAIL(r, "memory", "out of memory");
    }
    *out = numbers;
    *rows = (int64_t)n;
    *columns = (int64_t)m;
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(value, i);
        if (!json_is_array(row)) {
            return FAIL(r, "shape", "%s[%zu] is %s: expected a row of numbers", key, i,
                        kind_of(row));
        }
        if (json_array_size(row) != m) {
            return FAIL(r, "shape", "%s[%zu] has %zu entries: expected %zu as in row 0", key, i,
                        json_array_size(row), m);
        }
        for (size_t j = 0; j < m; j++) {
            const json_t *item = json_array_get(row, j);
            if (!json_is_number(item)) {
                return FAIL(r, "shape", "%s[%zu][%zu] is %s: expected a number", key, i, j,
                            kind_of(item));
            }
            numbers[i * m + j] = json_number_value(item);
        }
    }
    return 1;
}

static int read_id(reader *r, const json_t *value)
{
    text id = {0};
    if (json_is_string(value)) {
        text_quoted(&id, json_string_value(value));
    } else if (json_is_integer(value)) {
        text_format(&id, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        text_number(&id, json_real_value(value));
    } else if (!json_is_null(value)) {
        return FAIL(r, "shape", "id is %s: expected a string or a number", kind_of(value));
    }
    r->context->id = id.bytes;
    return 1;
}

static int read_setting(reader *r, setting_id id, const char *key, const json_t *value)
{
    int kind = setting_parameter(id)->kind, fits = json_is_string(value);
    text shown = {0}, expected = {0};
    if (kind == SET_INTEGER || kind == SET_NUMBER) {
        fits = json_is_number(value);
        double number = json_number_value(value);
        if (number == floor(number) && fabs(number) < 1e15) {
            text_format(&shown, "%.0f", number);
        } else {
            text_number(&shown, number);
        }
    } else if (fits) {
        text_string(&shown, json_string_value(value));
    }
    int good = setting_read(&r->context->settings, id,
                            fits && shown.bytes != NULL ? shown.bytes : "", &expected) &&
               fits;
    if (!good) {
        char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        (void)FAIL(r, "value", "%s is %.60s: expected %s", key, dumped != NULL ? dumped : "?",
                   expected.bytes != NULL ? expected.bytes : "another value");
        free(dumped);
    }
    text_free(&shown);
    text_free(&expected);
    return good;
}

/* ---- preferences ----------------------------------------------------------------------------- */

/* Margins are antisymmetric to this, as the library has it; on the diagonal that is twice one. */
static const double SAME_MARGIN = 0.5e-9;

/* Nothing is preferred to itself, or plays itself. */
static int check_diagonal(reader *r, const char *status, const char *key, const double *matrix,
                          int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(matrix[i * n + i]) <= tolerance)) {
            return FAIL(r, status, "%s[%lld][%lld] is %g: expected 0, an outcome against itself",
                        key, (long long)i, (long long)i, matrix[i * n + i]);
        }
    }
    return 1;
}

static int check_counts(reader *r, const char *key, const double *counts, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            if (!(counts[i * n + j] >= 0.0)) {
                return FAIL(r, "value", "%s[%lld][%lld] is %g: expected a count >= 0", key,
                            (long long)i, (long long)j, counts[i * n + j]);
            }
        }
    }
    return check_diagonal(r, "value", key, counts, n, 0.0);
}

static int check_ties(reader *r, const double *ties, int64_t n)
{
    if (!check_counts(r, "ties", ties, n)) {
        return 0;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            if (ties[i * n + j] != ties[j * n + i]) {
                return FAIL(r, "value",
                            "ties[%lld][%lld] is %g and ties[%lld][%lld] is %g: expected the same",
                            (long long)i, (long long)j, ties[i * n + j], (long long)j, (long long)i,
                            ties[j * n + i]);
            }
        }
    }
    return 1;
}

/* wins[i][j] = how often i beat j, into margins; ties, or NULL, count half to each. */
static void margins_from_wins(double *wins, const double *ties, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            /* Quarters, so that the largest counts do not overflow. */
            double up = 0.25 * wins[i * n + j], down = 0.25 * wins[j * n + i];
            double played = up + down + (ties != NULL ? 0.25 * ties[i * n + j] : 0.0);
            double margin = played > 0.0 ? (up - down) / played : 0.0;
            wins[i * n + j] = margin;
            wins[j * n + i] = -margin;
        }
    }
}

/* ---- several rewards, sums of penalties, tokens ---------------------------------------------- */

/* rewards as a list of lists: one list of numbers for each. */
static int read_rewards(reader *r, const json_t *value)
{
    context *c = r->context;
    int64_t outcomes;
    return read_matrix(r, "rewards", value, &c->reward_lists, &c->reward_count, &outcomes) &&
           (outcomes > 0 ||
            FAIL(r, "shape", "rewards[0] is empty: expected at least one number")) &&
           (c->rewards = allocate((size_t)outcomes), c->outcomes = outcomes,
            c->rewards != NULL || FAIL(r, "memory", "out of memory"));
}

static int read_reward_weights(reader *r, const json_t *value)
{
    int64_t count;
    context *c = r->context;
    if (!read_vector(r, "reward_weights", value, &c->reward_weights, &count)) {
        return 0;
    }
    return count == c->reward_count
               ? 1
               : FAIL(r, "shape", "reward_weights has %lld numbers: expected %lld, one per reward",
                      (long long)count, (long long)c->reward_count);
}

/* Their weighted sum, which is what is told of rewards. */
static void add_rewards(context *c)
{
    for (int64_t o = 0; c->reward_lists != NULL && o < c->outcomes; o++) {
        c->rewards[o] = 0.0;
        for (int64_t k = 0; k < c->reward_count; k++) {
            c->rewards[o] += (c->reward_weights != NULL ? c->reward_weights[k] : 1.0) *
                             c->reward_lists[k * c->outcomes + o];
        }
    }
}

/* A penalty as an object, in the words of the option. */
static int read_mixture(reader *r, json_t *value)
{
    text words = {0}, expected = {0};
    const char *name;
    json_t *item;
    int good = 1;
    json_object_foreach(value, name, item)
    {
        if (good && !json_is_number(item)) {
            good =
                FAIL(r, "value", "penalty.%.60s is %s: expected a number > 0", name, kind_of(item));
        }
        text_format(&words, "%s%.60s=", words.length > 0 ? "," : "", name);
        text_number(&words, json_number_value(item));
    }
    if (good && !setting_read(&r->context->settings, SETTING_PENALTY,
                              words.bytes != NULL ? words.bytes : "=", &expected)) {
        good = FAIL(r, "value", "penalty is {%.120s}: expected %s",
                    words.bytes != NULL ? words.bytes : "",
                    expected.bytes != NULL ? expected.bytes : "an object of numbers");
    }
    text_free(&words);
    text_free(&expected);
    return good;
}

/* The number of a token: its own, or for strings that of the first one alike. */
static int64_t token_number(const json_t *token, json_t *known, text *key)
{
    text_clear(key);
    if (json_is_string(token)) {
        text_format(key, "s%s", json_string_value(token));
    } else {
        text_format(key, "n%" JSON_INTEGER_FORMAT, json_integer_value(token));
    }
    if (key->bytes == NULL || key->failed) {
        return -1;
    }
    const json_t *before = json_object_get(known, key->bytes);
    if (before != NULL) {
        return json_integer_value(before);
    }
    int64_t number = (int64_t)json_object_size(known);
    return json_object_set_new(known, key->bytes, json_integer(number)) == 0 ? number : -1;
}

static int read_sequence(reader *r, size_t o, const json_t *sequence, json_t *known, text *key)
{
    context *c = r->context;
    int64_t next = c->token_offsets[o];
    if (!json_is_array(sequence)) {
        return FAIL(r, "shape", "tokens[%zu] is %s: expected a list of tokens", o,
                    kind_of(sequence));
    }
    for (size_t i = 0; i < json_array_size(sequence); i++) {
        const json_t *token = json_array_get(sequence, i);
        if (!json_is_string(token) && !json_is_integer(token)) {
            return FAIL(r, "shape", "tokens[%zu][%zu] is %s: expected an integer or a string", o, i,
                        kind_of(token));
        }
        c->tokens[next] = token_number(token, known, key);
        if (c->tokens[next++] < 0) {
            return FAIL(r, "memory", "out of memory");
        }
    }
    c->token_offsets[o + 1] = next;
    return 1;
}

static int read_tokens(reader *r, const json_t *value)
{
    context *c = r->context;
    size_t n = json_array_size(value), all = 0;
    if (!json_is_array(value) || n == 0) {
        return FAIL(r, "shape", "tokens is %s: expected a list of tokens for every outcome",
                    json_is_array(value) ? "empty" : kind_of(value));
    }
    if (c->outcomes > 0 && (int64_t)n != c->outcomes) {
        return FAIL(r, "shape",
                    "tokens has %zu lists: expected %lld, as many as there are outcomes", n,
                    (long long)c->outcomes);
    }
    for (size_t o = 0; o < n; o++) {
        all += json_array_size(json_array_get(value, o));
    }
    c->token_offsets = memory_malloc((n + 1) * sizeof *c->token_offsets);
    c->tokens = memory_malloc((all > 0 ? all : 1) * sizeof *c->tokens);
    json_t *known = json_object();
    text key = {0};
    int good = c->token_offsets != NULL && c->tokens != NULL && known != NULL
                   ? 1
                   : FAIL(r, "memory", "out of memory");
    for (size_t o = 0; good && o < n; o++) {
        c->token_offsets[0] = 0;
        good = read_sequence(r, o, json_array_get(value, o), known, &key);
    }
    text_free(&key);
    json_decref(known);
    return good;
}

/* {"success": [...], "failure": [...]} */
static int read_table(reader *r, const json_t *value)
{
    context *c = r->context;
    const json_t *success = json_object_get(value, "success"),
                 *failure = json_object_get(value, "failure");
    int64_t failures = 0;
    if (!json_is_object(value)) {
        return FAIL(r, "shape", "group_table is %s: expected an object with success and failure",
                    kind_of(value));
    }
    if (success == NULL || failure == NULL) {
        return FAIL(r, "shape", "group_table lacks %s: expected success and failure",
                    success == NULL ? "success" : "failure");
    }
    if (json_object_size(value) != 2) {
        return FAIL(r, "shape", "group_table has other keys than success and failure");
    }
    if (!read_vector(r, "group_table.success", success, &c->table_success, &c->table_size) ||
        !read_vector(r, "group_table.failure", failure, &c->table_failure, &failures)) {
        return 0;
    }
    return c->table_size == failures
               ? 1
               : FAIL(r, "shape",
                      "group_table.failure has %lld numbers: expected %lld, as many as success",
                      (long long)failures, (long long)c->table_size);
}

static int is_list_of_lists(const json_t *value)
{
    return json_is_array(value) && json_is_array(json_array_get(value, 0));
}

/* ---- data ------------------------------------------------------------------------------------ */

enum { OUTCOMES_LONG = 1, SQUARE, LEVELS_LONG, OUTCOMES_X_LEVELS };

/* The keys of data, in the order in which their shapes are checked. */
static const struct {
    const char *key;
    int shape;
    size_t field; /* of the context; 0: it is not kept */
} DATA[] = {{"margins", SQUARE, offsetof(context, margins)},
            {"wins", SQUARE, offsetof(context, margins)},
            {"ties", SQUARE, 0},
            {"support", LEVELS_LONG, offsetof(context, support)},
            {"rewards", OUTCOMES_LONG, offsetof(context, rewards)},
            {"distribution", OUTCOMES_X_LEVELS, offsetof(context, distribution)},
            {"reward_variances", OUTCOMES_LONG, offsetof(context, reward_variances)},
            {"weights", OUTCOMES_LONG, offsetof(context, weights)},
            {"lengths", OUTCOMES_LONG, offsetof(context, lengths)},
            {"reference", OUTCOMES_LONG, offsetof(context, reference)},
            {"reference_logprobs", OUTCOMES_LONG, offsetof(context, reference_logprobs)},
            {"observed", OUTCOMES_LONG, offsetof(context, observed)}};
enum {
    MARGINS,
    WINS,
    TIES,
    SUPPORT,
    REWARDS,
    DISTRIBUTION,
    DATA_COUNT = sizeof DATA / sizeof *DATA
};

/* What a key held. */
typedef struct datum {
    double *numbers; /* NULL: it is absent */
    int64_t rows, columns;
} datum;

static int has_rows(int shape)
{
    return shape == SQUARE || shape == OUTCOMES_X_LEVELS;
}

/* Checks a datum's number of outcomes against those before it. */
static int agree(reader *r, int which, const datum *d)
{
    int64_t *outcomes = &r->context->outcomes;
    const char *key = DATA[which].key, *what = has_rows(DATA[which].shape) ? "rows" : "numbers";
    if (d->numbers == NULL || which == SUPPORT) {
        return 1;
    }
    if (d->rows == 0) {
        return FAIL(r, "shape", "%s is empty: expected at least one %s", key, what);
    }
    if (*outcomes > 0 && d->rows != *outcomes) {
        return FAIL(r, "shape", "%s has %lld %s: expected %lld, as many as there are outcomes", key,
                    (long long)d->rows, what, (long long)*outcomes);
    }
    *outcomes = d->rows;
    return 1;
}

static int check_shapes(reader *r, const datum *data)
{
    const datum *support = &data[SUPPORT], *distribution = &data[DISTRIBUTION];
    if (data[MARGINS].numbers != NULL && data[WINS].numbers != NULL) {
        return FAIL(r, "contradiction",
                    "margins and wins contradict each other: expected one of them");
    }
    if (data[TIES].numbers != NULL && data[WINS].numbers == NULL) {
        return FAIL(r, "contradiction", "ties belong to wins: wins is missing");
    }
    if ((support->numbers != NULL) != (distribution->numbers != NULL)) {
        return FAIL(r, "contradiction", "support and distribution belong together: %s is missing",
                    support->numbers != NULL ? "distribution" : "support");
    }
    for (int k = 0; k < DATA_COUNT; k++) {
        if (DATA[k].shape == SQUARE && data[k].rows != data[k].columns) {
            return FAIL(r, "shape", "%s is %lld x %lld: expected a square matrix", DATA[k].key,
                        (long long)data[k].rows, (long long)data[k].columns);
        }
    }
    if (support->numbers != NULL &&
        (support->rows == 0 || support->rows != distribution->columns)) {
        return FAIL(r, "shape",
                    "distribution has %lld columns and support %lld levels: expected the same, > 0",
                    (long long)distribution->columns, (long long)support->rows);
    }
    for (int k = 0; k < DATA_COUNT; k++) {
        if (!agree(r, k, &data[k])) {
            return 0;
        }
    }
    return 1;
}

/* Metrics say nothing of how many outcomes there are. */
static int check_metrics(reader *r)
{
    const context *c = r->context;
    return c->metrics.count == 0 || c->metrics.outcomes == c->outcomes ||
           FAIL(r, "shape",
                "metrics have %lld numbers each: expected %lld, as many as there are "
                "outcomes",
                (long long)c->metrics.outcomes, (long long)c->outcomes);
}

/* Checks the data and hands them to the context. */
static int take_data(reader *r, datum *data)
{
    context *c = r->context;
    double *margins = data[MARGINS].numbers, *wins = data[WINS].numbers, *ties = data[TIES].numbers;
    if (!check_shapes(r, data) || !check_metrics(r) ||
        (margins != NULL &&
         !check_diagonal(r, "antisymmetry", "margins", margins, c->outcomes, SAME_MARGIN)) ||
        (wins != NULL && !check_counts(r, "wins", wins, c->outcomes)) ||
        (ties != NULL && !check_ties(r, ties, c->outcomes))) {
        return 0;
    }
    if (wins != NULL) {
        margins_from_wins(wins, ties, c->outcomes);
    }
    for (int k = 0; k < DATA_COUNT; k++) {
        if (data[k].numbers != NULL && DATA[k].field != 0) {
            *(double **)((char *)c + DATA[k].field) = data[k].numbers;
            data[k].numbers = NULL;
        }
    }
    c->levels = data[SUPPORT].rows;
    return 1;
}

/* ---- a record -------------------------------------------------------------------------------- */

/* Keys that hold answers, as in a file of golden cases, and the id, which is read first. */
static int is_passed_over(const char *key)
{
    static const char *const keys[] = {"id",     "policy",   "advantage",
                                       "points", "complete", "critical_beta"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int read_key(reader *r, const char *key, const json_t *value, datum *data)
{
    if (strcmp(key, "weights") == 0 && json_is_string(value)) {
        r->context->weighs_by_length = strcmp(json_string_value(value), "per_sequence") == 0;
        return r->context->weighs_by_length ||
               FAIL(r, "value", "weights is \"%.60s\": expected numbers or per_sequence",
                    json_string_value(value));
    }
    for (int k = 0; k < DATA_COUNT; k++) {
        if (strcmp(key, DATA[k].key) == 0) {
            datum *d = &data[k];
            return has_rows(DATA[k].shape)
                       ? read_matrix(r, key, value, &d->numbers, &d->rows, &d->columns)
                       : read_vector(r, key, value, &d->numbers, &d->rows);
        }
    }
    if (strcmp(key, "group") == 0) {
        return read_vector(r, key, value, &r->context->group, &r->context->group_count);
    }
    if (strcmp(key, "group_table") == 0) {
        return read_table(r, value);
    }
    if (strcmp(key, "penalty") == 0 && json_is_object(value)) {
        return read_mixture(r, (json_t *)(uintptr_t)value);
    }
    if (strcmp(key, "metrics") == 0) {
        return metrics_read(&r->context->metrics, value, r->status, r->message);
    }
    setting_id id = strchr(key, '-') == NULL ? setting_find(key) : SETTINGS;
    return id < SETTINGS       ? read_setting(r, id, key, value)
           : r->ignore_unknown ? 1
                               : FAIL(r, "unknown_key", "unknown key \"%.60s\"", key);
}

/* Lengths are > 0, and weights per sequence are one over them. */
static int take_lengths(reader *r)
{
    context *c = r->context;
    for (int64_t o = 0; c->lengths != NULL && o < c->outcomes; o++) {
        if (!(c->lengths[o] > 0.0)) {
            return FAIL(r, "value", "lengths[%lld] is %g: expected a number > 0", (long long)o,
                        c->lengths[o]);
        }
    }
    if (c->lengths != NULL && metrics_find(&c->metrics, "lengths") == NULL &&
        !metrics_add(&c->metrics, "lengths", c->lengths, c->outcomes)) {
        return FAIL(r, "memory", "out of memory");
    }
    if (c->weighs_by_length && c->lengths != NULL) {
        c->weights = allocate((size_t)c->outcomes);
        for (int64_t o = 0; c->weights != NULL && o < c->outcomes; o++) {
            c->weights[o] = 1.0 / c->lengths[o];
        }
        return c->weights != NULL || FAIL(r, "memory", "out of memory");
    }
    return 1;
}

static int read_object(reader *r, json_t *object)
{
    datum data[DATA_COUNT] = {{NULL, 0, 0}};
    const char *key;
    json_t *value;
    const json_t *id = json_object_get(object, "id");
    const json_t *rewards = json_object_get(object, "rewards"),
                 *weights = json_object_get(object, "reward_weights"),
                 *tokens = json_object_get(object, "tokens");
    int good = id == NULL || read_id(r, id), several = is_list_of_lists(rewards);
    good = good && (!several || read_rewards(r, rewards));
    if (good && weights != NULL && !several) {
        good = FAIL(r, "contradiction",
                    "reward_weights belong to several rewards: expected rewards to be a list of "
                    "lists");
    }
    good = good && (weights == NULL || read_reward_weights(r, weights));
    json_object_foreach(object, key, value)
    {
        int is_read = is_passed_over(key) || value == weights || value == tokens ||
                      (several && value == rewards);
        good = good && (is_read || read_key(r, key, value, data));
    }
    good =
        good && take_data(r, data) && (tokens == NULL || read_tokens(r, tokens)) && take_lengths(r);
    if (good) {
        add_rewards(r->context);
    }
    for (int k = 0; k < DATA_COUNT; k++) {
        free(data[k].numbers);
    }
    return good;
}

/* ---- what a record takes --------------------------------------------------------------------- */

/* Bytes of a tree of jansson's, from above, with what malloc adds and what growing arrays leave
 * behind: a value and its place in an array; an array and an object with their first value; a
 * string, or a key, without its characters. */
enum { VALUE_BYTES = 56, ARRAY_BYTES = 200, OBJECT_BYTES = 480, STRING_BYTES = 120 };

typedef struct size {
    size_t bytes, depth;
} size;

/* The tree that a line makes at most, by the bytes that open and part its values. */
static size size_of(const text *line)
{
    size found = {0, 0};
    size_t depth = 0;
    int quoted = 0;
    for (const char *c = line->bytes, *end = c + line->length; c < end; c++) {
        if (quoted) {
            found.bytes++;
            quoted = *c != '"';
            c += *c == '\\'; /* what follows ends no string */
            continue;
        }
        quoted = *c == '"';
        depth += *c == '[' || *c == '{';
        depth -= (*c == ']' || *c == '}') && depth > 0;
        found.depth = depth > found.depth ? depth : found.depth;
        found.bytes += *c == ','   ? VALUE_BYTES
                       : *c == '[' ? ARRAY_BYTES
                       : *c == '{' ? OBJECT_BYTES
                       : *c == '"' ? STRING_BYTES
                                   : 0;
    }
    return found;
}

static int is_small_enough(reader *r, const text *line)
{
    size found = size_of(line);
    if (found.depth > RECORD_MOST_DEPTH) {
        return FAIL(r, "too_large", "the record is nested %zu deep: expected at most %d",
                    found.depth, RECORD_MOST_DEPTH);
    }
    if (found.bytes > RECORD_MOST_TREE) {
        return FAIL(r, "too_large", "the record would take %zu MiB: expected at most %zu MiB",
                    found.bytes >> 20, RECORD_MOST_TREE >> 20);
    }
    return 1;
}

void record_prepare(void)
{
    json_set_alloc_funcs(memory_malloc, free);
}

int record_parse(const text *line, int ignore_unknown, context *out, const char **status,
                 text *message)
{
    reader r = {out, status, message, ignore_unknown};
    json_error_t error;
    memset(out, 0, sizeof *out);
    if (!is_small_enough(&r, line)) {
        return 0;
    }
    json_t *object = json_loadb(line->bytes, line->length, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL && strstr(error.text, "too big integer") != NULL) {
        /* Integers beyond 64 bits are numbers all the same. */
        object = json_loadb(line->bytes, line->length,
                            JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    }
    if (object == NULL) {
        return FAIL(&r, "json", "not a JSON object, at character %d: %s", error.position,
                    error.text);
    }
    int good = json_is_object(object)
                   ? read_object(&r, object)
                   : FAIL(&r, "json", "the record is %s: expected an object", kind_of(object));
    json_decref(object);
    return good;
}
