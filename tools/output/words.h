/* Conventions in words and formulas. */
#ifndef GPA_WORDS_H
#define GPA_WORDS_H

#include "base/text.h"
#include "input/settings.h"

/* The advantage of a member: "(r - mean) / (std1 + 1e-06)"; std0 and std1 tell the ddof. */
void text_advantage(text *out, const settings *self);

/* What a stationary policy satisfies: "pi ~ pi_ref exp(u / beta)". */
void text_stationary(text *out, const settings *self);

#endif
