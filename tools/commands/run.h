/* What the commands share: contexts come in from records or tables, each is acted upon, results go
 * out in order. */
#ifndef GPA_RUN_H
#define GPA_RUN_H

#include "base/parameter.h"
#include "input/context.h"
#include "output/result.h"
#include "output/write.h"

typedef struct action {
    const char *command, *help; /* the help of what all commands share follows */
    /* Options of this command alone, whose fields are those of `user`; or NULL. One that has the
     * name of a setting takes its place. */
    const parameter *options;
    /* The two FORMAT_* it writes, the one for files first, then -1; NULL: JSONL and TABLE. */
    const int *formats;
    /* Checks the options together and appends what comes before all results (for CSV the header);
     * may be NULL. Returns 0 with a reason when the options do not fit. */
    int (*begin)(void *user, int format, text *out, text *wrong);
    /* Sets what the command itself brings to a context, before it is checked; may be NULL. */
    void (*prepare)(void *user, settings *self);
    /* Seconds that a context may take, from above, which is told when it is long; NULL: those of a
     * solution. */
    double (*cost)(void *user, const context *self);
    /* Acts on a context whose settings are complete and consistent, on any thread, and writes the
     * answer or an error. Returns 1 when it went well. NULL: the context is solved and `answer`
     * writes what is found. */
    int (*act)(void *user, const context *self, const reply *to);
    void (*answer)(const context *self, const result *found, const reply *to);
    /* What goes out is one sum, which `finish` writes: errors go to standard error. */
    int sums;
    /* Takes what `act` put aside, in the order of the contexts; may be NULL. */
    void (*collect)(void *user, const text *aside);
    /* After all contexts; may be NULL. `whole` is 0 when the results did not all go out: standard
     * output failed, or --strict stopped at a bad record. Returns 1 when it went well, else a
     * reason. */
    int (*finish)(void *user, int whole, text *wrong);
    void *user;
} action;

/* A whole command: options, contexts, results. Returns the exit status. */
int run_contexts(const action *what, int argc, char **argv);

#endif
