/* Conventions in words and formulas. */
#ifndef GPA_WORDS_H
#define GPA_WORDS_H

#include "base/text.h"
#include "input/context.h"

/* The advantage of a member: "(r - mean) / (std1 + 1e-06)"; std0 and std1 tell the ddof. */
void text_advantage(text *out, const settings *self);

/* What a stationary policy satisfies: "pi ~ pi_ref exp(u / beta)". */
void text_stationary(text *out, const settings *self);

/* The same of a context, whose data may say more than its settings: several rewards, a group_table,
 * tokens, weights, decisions and sums of penalties. */
void text_advantage_of(text *out, const context *self);
void text_stationary_of(text *out, const context *self);

/* "beta 0.5 x KL(pi||pi_ref)", or the parts of a sum. */
void text_penalty_of(text *out, const context *self);

#endif
