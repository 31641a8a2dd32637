/* The grpoalign command: a client of the public header. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static const char USAGE[] =
    "usage: grpoalign solve [options] [FILE...]\n"
    "       grpoalign --help | --version\n"
    "\n"
    "solve   the stationary policy of each context: where GRPO with these rewards, this reference policy and\n"
    "        this beta comes to rest. `grpoalign solve --help` lists the options; man grpoalign-solve says more.\n";

static int print_version(void)
{
    printf("%s\n", grpoalign_build_info());
    if (strcmp(grpoalign_version_string(), COMMAND_VERSION) != 0) {
        printf("command %s\n", COMMAND_VERSION);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int status;
    if (argc < 2) {
        fputs(USAGE, stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(USAGE, stdout);
        status = 0;
    } else if (strcmp(argv[1], "--version") == 0) {
        status = print_version();
    } else if (strcmp(argv[1], "solve") == 0) {
        status = command_solve(argc - 1, argv + 1);
    } else {
        fprintf(stderr, "grpoalign: unknown command \"%s\"\n%s", argv[1], USAGE);
        return 2;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "grpoalign: cannot write to standard output: %s\n", strerror(errno));
        return 1;
    }
    return status;
}
