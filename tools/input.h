/* What the commands share: contexts come in from records or tables, each is acted upon, results go out in order. */
#ifndef GPA_INPUT_H
#define GPA_INPUT_H

#include "context.h"
#include "text.h"

typedef struct own_option {
    const char *name; /* without the dashes; NULL ends the list */
    int takes_value;
} own_option;

typedef struct action {
    const char *command, *help; /* the help of what all commands share follows */
    const own_option *options;  /* of this command alone, or NULL */
    /* Takes an option, its own or a setting's (optional). Returns 1 when taken, 0 with what was expected when the value cannot
     * be, -1 to leave a setting to the shared code. */
    int (*option)(void *user, const char *name, const char *value, text *expected);
    /* Acts on a context whose settings are complete and consistent, on any thread, and appends the result; what goes wrong
     * becomes an error record at `place`. Returns 1 when it went well. */
    int (*act)(void *user, const context *self, const char *place, int format, text *out);
    void *user;
} action;

/* A whole command: options, contexts, results. Returns the exit status. */
int run_contexts(const action *what, int argc, char **argv);

#endif
