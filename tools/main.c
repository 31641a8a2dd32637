/* The grpoalign command: a client of the public header. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <grpoalign/grpoalign.h>

#include "base/memory.h"
#include "commands/commands.h"
#include "input/record.h"

#ifndef COMMAND_VERSION
#define COMMAND_VERSION "unknown"
#endif

static const struct {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} COMMANDS[] = {
    {"solve", "the stationary policy of each context: where GRPO comes to rest", command_solve},
    {"points", "all stationary policies, whether they attract training, and which one it reaches",
     command_points},
    {"flow",
     "mean-field training from the reference to its end: the way there, as a table or drawn",
     command_flow},
    {"sweep",
     "the stationary policy over a grid of beta, group size, penalty, ..., as a table or drawn",
     command_sweep},
    {"tune", "the largest beta that meets a target: a KL budget, an expected reward, a metric",
     command_tune},
    {"fit", "the beta that explains what a trained policy does", command_fit},
    {"summary", "one object over all contexts: means before and after, how many failed, pass@k",
     command_summary},
    {"simulate", "sampled GRPO on a tabular policy, as trainers run it, beside the prediction",
     command_simulate},
    {"explain", "which problem a record states, and the same answer in other conventions",
     command_explain},
    {"presets", "the conventions of trainers, by name", command_presets},
};

static void print_usage(FILE *file)
{
    fputs("usage: grpoalign COMMAND [options] [FILE...]\n"
          "       grpoalign --help | --version\n"
          "\n"
          "Where Group Relative Policy Optimisation leads, from rewards or preferences, a "
          "reference policy and beta.\n"
          "\n",
          file);
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        fprintf(file, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    }
    fputs("\n`grpoalign COMMAND --help` lists the options of a command; man grpoalign-COMMAND says "
          "more.\n",
          file);
}

static int print_version(void)
{
    printf("%s\n", grpoalign_build_info());
    if (strcmp(grpoalign_version_string(), COMMAND_VERSION) != 0) {
        printf("command %s\n", COMMAND_VERSION);
    }
    return 0;
}

/* Runs what the first argument names; *known is 0 when it names nothing. */
static int dispatch(int argc, char **argv, int *known)
{
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        if (strcmp(argv[1], COMMANDS[i].name) == 0) {
            return COMMANDS[i].run(argc - 1, argv + 1);
        }
    }
    *known = 0;
    return 2;
}

int main(int argc, char **argv)
{
    int status = 0, known = 1;
    record_prepare();
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_usage(stdout);
    } else if (strcmp(argv[1], "--version") == 0) {
        status = print_version();
    } else {
        status = dispatch(argc, argv, &known);
    }
    if (!known) {
        fprintf(stderr, "grpoalign: unknown command \"%s\"\n", argv[1]);
        print_usage(stderr);
        return 2;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "grpoalign: cannot write to standard output: %s\n", strerror(errno));
        return 1;
    }
    if (memory_refused_to_all() > 0) { /* whatever it was for, something is not whole */
        fputs("grpoalign: out of memory\n", stderr);
        status = status == 0 ? 1 : status;
    }
    return status;
}
