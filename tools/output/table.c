#include "output/table.h"

#include <math.h>

#include "output/words.h"

void table_heading(text *out, const context *c)
{
    const settings *s = &c->settings;
    text_format(out, "context%s%s: %s", c->id != NULL ? " " : "", c->id != NULL ? c->id : "",
                setting_word(s, SETTING_MODEL));
    if (s->model == MODEL_GROUP) {
        text_format(out, " of %lld", (long long)s->group_size);
    }
    if (s->model != MODEL_PAIRWISE) {
        text_string(out, ", ");
        text_advantage_of(out, c);
    }
    text_string(out, ", ");
    text_penalty_of(out, c);
    text_string(out, "\n\n");
}

void table_batch(text *out, const result *self)
{
    if (self->contexts == 0) {
        return;
    }
    text_format(out, "  std of the batch     over %lld contexts: ", (long long)self->contexts);
    if (isnan(self->std)) {
        text_string(out, "without effect under this penalty\n");
    } else {
        text_format(out, "%.6g; each as if unscaled with beta %.6g\n", self->std, self->beta);
    }
}

enum { WIDEST_LABEL = 40 };

/* One column per character, whatever its bytes. */
static int starts_character(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

int labels_width(const context *c, const int64_t *order, int64_t count, int least)
{
    int widest = least;
    for (int64_t i = 0; c->labels != NULL && i < count; i++) {
        int width = 0;
        for (const char *at = c->labels[order != NULL ? order[i] : i]; *at != '\0'; at++) {
            width += starts_character(*at);
        }
        widest = width > widest ? width : widest;
    }
    return widest < WIDEST_LABEL ? widest : WIDEST_LABEL;
}

void table_label(text *out, const context *c, int64_t outcome, int width)
{
    if (c->labels == NULL) {
        text_format(out, "  %-*lld", width, (long long)outcome);
        return;
    }
    int used = 0;
    text_string(out, "  ");
    for (const char *label = c->labels[outcome];
         *label != '\0' && (used < width || !starts_character(*label)); label++) {
        used += starts_character(*label);
        char byte = (unsigned char)*label < 0x20 ? ' ' : *label;
        text_add(out, &byte, 1);
    }
    text_format(out, "%*s", width - used, "");
}
