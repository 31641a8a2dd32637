#include "input/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

typedef struct reader {
    context *context;
    const char **status;
    text *message;
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
    return count <= SIZE_MAX / sizeof(double) ? malloc((count > 0 ? count : 1) * sizeof(double))
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
    free(*out);
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
    free(*out);
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

static int read_setting(reader *r, const char *key, const json_t *value)
{
    text shown = {0}, expected = {0};
    if (json_is_string(value)) {
        text_string(&shown, json_string_value(value));
    } else if (json_is_number(value)) {
        double number = json_number_value(value);
        if (number == floor(number) && fabs(number) < 1e15) {
            text_format(&shown, "%.0f", number);
        } else {
            text_number(&shown, number);
        }
    }
    int is_name = settings_is_word(key);
    int fits = is_name ? json_is_string(value) : json_is_number(value);
    int known = settings_parse(&r->context->settings, key, fits ? shown.bytes : "", &expected);
    int good = known > 0 && fits;
    if (!good) {
        char *dumped = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        (void)FAIL(r, "value", "%s is %.60s: expected %s", key, dumped != NULL ? dumped : "?",
                   expected.bytes);
        free(dumped);
    }
    text_free(&shown);
    text_free(&expected);
    return good;
}

/* wins[i][j] = how often i beat j, into margins. */
static int margins_from_wins(reader *r, double *wins, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            if (!(wins[i * n + j] >= 0.0)) {
                return FAIL(r, "value", "wins[%lld][%lld] is %g: expected a count >= 0",
                            (long long)i, (long long)j, wins[i * n + j]);
            }
        }
    }
    for (int64_t i = 0; i < n; i++) {
        wins[i * n + i] = 0.0;
        for (int64_t j = 0; j < i; j++) {
            double up = wins[i * n + j], down = wins[j * n + i];
            /* Halves, so that the largest counts do not overflow. */
            double played = 0.5 * up + 0.5 * down;
            double margin = played > 0.0 ? (0.5 * up - 0.5 * down) / played : 0.0;
            wins[i * n + j] = margin;
            wins[j * n + i] = -margin;
        }
    }
    return 1;
}

/* The shapes, as far as they went into the context; -1 where a key is absent. */
typedef struct shapes {
    int64_t reference, logprobs, rewards, variances, support, margin_rows, margin_columns,
        wins_rows, wins_columns, distribution_rows, distribution_columns;
} shapes;

static int agree(reader *r, const char *key, int64_t size, const char *what)
{
    int64_t *outcomes = &r->context->outcomes;
    if (size < 0) {
        return 1;
    }
    if (size == 0) {
        return FAIL(r, "shape", "%s is empty: expected at least one %s", key, what);
    }
    if (*outcomes > 0 && size != *outcomes) {
        return FAIL(r, "shape", "%s has %lld %s: expected %lld, as many as there are outcomes", key,
                    (long long)size, what, (long long)*outcomes);
    }
    *outcomes = size;
    return 1;
}

static int check_shapes(reader *r, const shapes *s)
{
    context *c = r->context;
    if (s->margin_rows >= 0 && s->wins_rows >= 0) {
        return FAIL(r, "contradiction",
                    "margins and wins contradict each other: expected one of them");
    }
    if ((s->support >= 0) != (s->distribution_rows >= 0)) {
        return FAIL(r, "contradiction", "support and distribution belong together: %s is missing",
                    s->support >= 0 ? "distribution" : "support");
    }
    if (s->margin_rows >= 0 && s->margin_rows != s->margin_columns) {
        return FAIL(r, "shape", "margins is %lld x %lld: expected a square matrix",
                    (long long)s->margin_rows, (long long)s->margin_columns);
    }
    if (s->wins_rows >= 0 && s->wins_rows != s->wins_columns) {
        return FAIL(r, "shape", "wins is %lld x %lld: expected a square matrix",
                    (long long)s->wins_rows, (long long)s->wins_columns);
    }
    if (s->support >= 0 && (s->support == 0 || s->support != s->distribution_columns)) {
        return FAIL(r, "shape",
                    "distribution has %lld columns and support %lld levels: expected the same, > 0",
                    (long long)s->distribution_columns, (long long)s->support);
    }
    c->levels = s->support;
    return agree(r, "margins", s->margin_rows, "rows") && agree(r, "wins", s->wins_rows, "rows") &&
           agree(r, "rewards", s->rewards, "numbers") &&
           agree(r, "distribution", s->distribution_rows, "rows") &&
           agree(r, "reward_variances", s->variances, "numbers") &&
           agree(r, "reference", s->reference, "numbers") &&
           agree(r, "reference_logprobs", s->logprobs, "numbers");
}

/* Keys that hold answers, as in a file of golden cases. */
static int is_answer(const char *key)
{
    static const char *const answers[] = {"policy", "advantage", "points", "complete",
                                          "critical_beta"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        if (strcmp(key, answers[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int read_object(reader *r, json_t *object)
{
    context *c = r->context;
    shapes s = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    double *wins = NULL;
    const char *key;
    json_t *value;
    const json_t *id = json_object_get(object, "id");
    int good = id == NULL || read_id(r, id);
    json_object_foreach(object, key, value)
    {
        if (!good) {
            break;
        }
        if (strcmp(key, "id") == 0 || is_answer(key)) {
            continue;
        }
        if (strcmp(key, "reference") == 0) {
            good = read_vector(r, key, value, &c->reference, &s.reference);
        } else if (strcmp(key, "reference_logprobs") == 0) {
            good = read_vector(r, key, value, &c->reference_logprobs, &s.logprobs);
        } else if (strcmp(key, "rewards") == 0) {
            good = read_vector(r, key, value, &c->rewards, &s.rewards);
        } else if (strcmp(key, "reward_variances") == 0) {
            good = read_vector(r, key, value, &c->reward_variances, &s.variances);
        } else if (strcmp(key, "support") == 0) {
            good = read_vector(r, key, value, &c->support, &s.support);
        } else if (strcmp(key, "margins") == 0) {
            good = read_matrix(r, key, value, &c->margins, &s.margin_rows, &s.margin_columns);
        } else if (strcmp(key, "wins") == 0) {
            good = read_matrix(r, key, value, &wins, &s.wins_rows, &s.wins_columns);
        } else if (strcmp(key, "distribution") == 0) {
            good = read_matrix(r, key, value, &c->distribution, &s.distribution_rows,
                               &s.distribution_columns);
        } else {
            text ignored = {0};
            settings probe = {0};
            if (settings_parse(&probe, key, "", &ignored) < 0) {
                good = FAIL(r, "unknown_key", "unknown key \"%.60s\"", key);
            } else {
                good = read_setting(r, key, value);
            }
            text_free(&ignored);
        }
    }
    good = good && check_shapes(r, &s);
    if (good && wins != NULL) {
        good = margins_from_wins(r, wins, s.wins_rows);
        c->margins = wins;
        wins = NULL;
    }
    free(wins);
    return good;
}

int record_parse(const char *line, size_t length, context *out, const char **status, text *message)
{
    reader r = {out, status, message};
    json_error_t error;
    size_t values = 1;
    memset(out, 0, sizeof *out);
    for (const char *comma = line;
         (comma = memchr(comma, ',', length - (size_t)(comma - line))) != NULL; comma++) {
        values++;
    }
    if (values > RECORD_MOST_VALUES) {
        return FAIL(&r, "too_large", "the record has more than %zu values", RECORD_MOST_VALUES);
    }
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL && strstr(error.text, "too big integer") != NULL) {
        /* Integers beyond 64 bits are numbers all the same. */
        object = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
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
