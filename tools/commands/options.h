/* The options that commands share, and how a command line is read. */
#ifndef GPA_OPTIONS_H
#define GPA_OPTIONS_H

#include "commands/run.h"
#include "input/tables.h"

/* The FORMAT_* of a command, as its action lists them, and the one chosen. */
typedef struct format_choice {
    const int *formats;
    int format;
} format_choice;

typedef struct run_options {
    settings settings;
    columns columns;
    list rollouts, battles; /* files, of const char * */
    format_choice format;
    int64_t threads;
    double timeout; /* 0: none */
    int strict, progress, ignore_unknown;
} run_options;

/* Reads and checks the command line; optind is then at the first file. Returns 0, or the exit
 * status + 1 when there is nothing left to do. */
int options_read(run_options *self, const action *what, int argc, char **argv);

void options_free(run_options *self);

/* Says what is wrong with the command line. Returns the exit status for that. */
int usage_error(const action *what, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
