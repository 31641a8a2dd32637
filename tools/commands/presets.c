/* grpoalign presets */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "input/context.h"
#include "base/text.h"
#include "output/words.h"
#include "output/write.h"

static const char HELP[] =
    "usage: grpoalign presets [--format table|jsonl] [NAME...]\n"
    "\n"
    "Lists the presets, all or those named: what each trainer computes, what its KL term "
    "amounts to on policy, the stationary\n"
    "policy that follows, and the defaults. std0 and std1 are stds with divisors G and G - 1; u "
    "is the expected advantage.\n"
    "\n"
    "Exit status: 0; 2 wrong usage.\n";

/* The settings of a preset as a user gets them who asks for its penalty. */
static settings settings_of(const grpoalign_convention *preset)
{
    settings s = {.has_preset = 1, .preset = *preset, .has_penalty = 1, .penalty = preset->penalty};
    settings_fill_preset(&s, 0);
    return s;
}

static void write_group_size(text *out, const grpoalign_convention *p)
{
    if (p->group_size >= 2) {
        text_format(out, "%-4d", (int)p->group_size);
    } else {
        text_string(out, "?   ");
    }
}

static void write_beta(text *out, const grpoalign_convention *p)
{
    if (isnan(p->beta)) {
        text_format(out, "%-7s", "?");
    } else if (p->beta == 0.0) {
        text_format(out, "%-7s", "off");
    } else {
        text_format(out, "%-7g", p->beta);
    }
}

static void write_row(const grpoalign_convention *p, const char *advantage, const char *stationary,
                      text *out)
{
    text_format(out, "%-23s ", p->name);
    write_group_size(out, p);
    write_beta(out, p);
    text_format(out, "%-44s %-28s %s\n", advantage, penalty_symbol(p->penalty), stationary);
    text_format(out, "    %s; KL term: %s\n", p->trainer, p->kl);
    if (p->warning != NULL) {
        text_format(out, "    ! %s\n", p->warning);
    }
}

static void write_json(const grpoalign_convention *p, const char *advantage, const char *stationary,
                       text *out)
{
    text_format(out, "{\"name\": \"%s\", \"trainer\": ", p->name);
    text_quoted(out, p->trainer);
    text_format(out, ", \"scale\": \"%s\", \"ddof\": %d, \"epsilon\": ", scale_name(p->scale),
                (int)p->ddof);
    text_number(out, p->epsilon);
    text_format(
        out,
        ", \"baseline\": \"%s\", \"zero_variance\": \"%s\", \"penalty\": \"%s\", \"group_size\": ",
        p->baseline == GRPOALIGN_BASELINE_LEAVE_ONE_OUT ? "leave_one_out" : "mean",
        p->zero_variance == GRPOALIGN_ZERO_VARIANCE_DROP ? "drop" : "keep",
        grpoalign_penalty_name(p->penalty));
    text_format(out, p->group_size >= 2 ? "%d" : "null", (int)p->group_size);
    text_string(out, ", \"beta\": ");
    if (isnan(p->beta)) {
        text_string(out, "null");
    } else {
        text_number(out, p->beta);
    }
    text_string(out, ", \"advantage\": ");
    text_quoted(out, advantage);
    text_string(out, ", \"kl_term\": ");
    text_quoted(out, p->kl);
    text_string(out, ", \"stationary\": ");
    text_quoted(out, stationary);
    text_string(out, ", \"warning\": ");
    if (p->warning != NULL) {
        text_quoted(out, p->warning);
    } else {
        text_string(out, "null");
    }
    text_string(out, "}\n");
}

static int write_preset(const char *name, int format)
{
    grpoalign_convention preset = {.struct_size = sizeof preset};
    text out = {0};
    if (grpoalign_preset(name, &preset, NULL) < 0) {
        fprintf(
            stderr,
            "grpoalign presets: unknown preset \"%s\": expected one that grpoalign presets lists\n",
            name);
        return 2;
    }
    settings s = settings_of(&preset);
    text advantage = {0}, stationary = {0};
    text_advantage(&advantage, &s);
    text_stationary(&stationary, &s);
    int done = !advantage.failed && !stationary.failed;
    if (done) {
        (format == FORMAT_TABLE ? write_row : write_json)(&preset, advantage.bytes,
                                                          stationary.bytes, &out);
        done = !out.failed;
    }
    text_free(&advantage);
    text_free(&stationary);
    if (done) {
        fputs(out.bytes, stdout);
    } else {
        fputs("grpoalign presets: out of memory\n", stderr);
    }
    text_free(&out);
    return done ? 0 : 1;
}

int command_presets(int argc, char **argv)
{
    static const struct option options[] = {{"format", required_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int format = isatty(STDOUT_FILENO) ? FORMAT_TABLE : FORMAT_JSONL, option, status = 0;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(HELP, stdout);
            return 0;
        }
        if (option != 'f') {
            return 2;
        }
        if (strcmp(optarg, "table") != 0 && strcmp(optarg, "jsonl") != 0) {
            fprintf(stderr, "grpoalign presets: --format is %s: expected table or jsonl\n", optarg);
            return 2;
        }
        format = strcmp(optarg, "table") == 0 ? FORMAT_TABLE : FORMAT_JSONL;
    }
    if (format == FORMAT_TABLE) {
        printf("%-23s %-4s%-7s%-44s %-28s %s\n", "preset", "G", "beta", "advantage", "penalty",
               "stationary policy");
    }
    if (optind == argc) {
        const char *name;
        for (int64_t k = 0; status == 0 && (name = grpoalign_preset_name(k)) != NULL; k++) {
            status = write_preset(name, format);
        }
    }
    for (int i = optind; status == 0 && i < argc; i++) {
        status = write_preset(argv[i], format);
    }
    return status;
}
