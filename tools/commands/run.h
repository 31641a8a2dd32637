/* What the commands share: contexts come in from records or tables, each is acted upon, results go
 * out in order. */
#ifndef GPA_INPUT_H
#define GPA_INPUT_H

#include "input/context.h"
#include "output/result.h"
#include "base/text.h"
#include "output/write.h"

typedef struct own_option {
    const char *name; /* without the dashes; NULL ends the list */
    int takes_value;
} own_option;

typedef struct action {
    const char *command, *help; /* the help of what all commands share follows */
    const own_option *options;  /* of this command alone, or NULL */
    const int *formats; /* the two FORMAT_* it writes, the one for files first, then -1; NULL: JSONL
                           and TABLE */
    /* Takes an option, its own or a setting's (optional). Returns 1 when taken, 0 with what was
     * expected when the value cannot be, -1 to leave a setting to the shared code. */
    int (*option)(void *user, const char *name, const char *value, text *expected);
    /* Checks the options together and appends what comes before all results (for CSV the header,
     * whose columns it counts); may be NULL. Returns 0 with a reason when the options do not fit.
     */
    int (*begin)(void *user, style *how, text *out, text *wrong);
    /* Sets what a context lacks and the command itself brings, before it is checked; may be NULL.
     */
    void (*prepare)(void *user, settings *self);
    /* Acts on a context whose settings are complete and consistent, on any thread, and appends the
     * result; what goes wrong becomes an error record at `place`. `aside` is for `collect`. Returns
     * 1 when it went well. NULL: the context is solved and `answer` writes what is found. */
    int (*act)(void *user, const context *self, const char *place, const style *how, text *out,
               text *aside);
    void (*answer)(const context *self, const result *found, const style *how, text *out);
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
