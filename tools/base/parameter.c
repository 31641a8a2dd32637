#include "base/parameter.h"

#include <string.h>

#include "base/number.h"

int same_name(const char *left, const char *right)
{
    for (; *left != '\0' && *right != '\0'; left++, right++) {
        if ((*left == '-' ? '_' : *left) != (*right == '-' ? '_' : *right)) {
            return 0;
        }
    }
    return *left == *right;
}

int choose(const choice *words, const char *value, int32_t *number, text *expected)
{
    int found = 0;
    for (const choice *c = words; c->word != NULL; c++) {
        text_format(expected, "%s%s", c == words ? "" : c[1].word == NULL ? " or " : ", ", c->word);
        if (same_name(value, c->word)) {
            *number = c->number;
            found = 1;
        }
    }
    return found;
}

const char *word_of(const choice *words, int32_t number)
{
    while (words->word != NULL && words->number != number) {
        words++;
    }
    return words->word;
}

static void say_what_is_expected(const parameter *self, text *expected)
{
    if (self->expected != NULL) {
        text_string(expected, self->expected);
    } else if (self->kind == SET_INTEGER) {
        text_format(expected, "an integer from %lld to %lld", (long long)self->least,
                    (long long)self->most);
    }
}

static int add_text(list *texts, const char *value, text *expected)
{
    const char **added = list_add(texts, sizeof *added);
    if (added == NULL) {
        text_clear(expected);
        text_string(expected, "fewer: out of memory");
        return 0;
    }
    *added = value;
    return 1;
}

int parameter_set(const parameter *self, void *target, const char *value, text *expected)
{
    void *field = (char *)target + self->field;
    double number;
    int64_t integer;
    say_what_is_expected(self, expected);
    switch (self->kind) {
    case SET_FLAG:
        return *(int *)field = 1;
    case SET_WORD:
        return choose(self->choices, value, field, expected);
    case SET_INTEGER:
        if (!parse_integer(value, &integer) || integer < self->least || integer > self->most) {
            return 0;
        }
        *(int64_t *)field = integer;
        return 1;
    case SET_NUMBER:
        if (!parse_number(value, &number) || number < self->low || number > self->high) {
            return 0;
        }
        *(double *)field = number;
        return 1;
    case SET_TEXT:
        *(const char **)field = value;
        return 1;
    case SET_TEXTS:
        return add_text(field, value, expected);
    default:
        return self->read(field, value, expected);
    }
}
