/* grpoalign presets */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands/commands.h"
#include "input/settings.h"
#include "output/field.h"
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

/* A preset, and what follows from it. */
typedef struct row {
    grpoalign_convention preset;
    int64_t group_size; /* -1 where the preset has none */
    text advantage, stationary;
    const char *advantage_text, *stationary_text;
} row;

static const char *scale_word(int32_t scale)
{
    return setting_word_of(SETTING_SCALE, scale);
}

static const char *baseline_word(int32_t baseline)
{
    return setting_word_of(SETTING_BASELINE, baseline);
}

static const char *zero_variance_word(int32_t zero_variance)
{
    return setting_word_of(SETTING_ZERO_VARIANCE, zero_variance);
}

/* clang-format off */
#define PRESET(member) .at = offsetof(row, preset.member)
static const field FIELDS[] = {
    {"name", FIELD_TEXT, PRESET(name)},
    {"trainer", FIELD_TEXT, PRESET(trainer)},
    {"from", FIELD_TEXT, PRESET(from)},
    {"to", FIELD_TEXT, PRESET(to)},
    {"scale", FIELD_NAME, PRESET(scale), .word = scale_word},
    {"ddof", FIELD_COUNT, PRESET(ddof)},
    {"epsilon", FIELD_NUMBER, PRESET(epsilon)},
    {"baseline", FIELD_NAME, PRESET(baseline), .word = baseline_word},
    {"zero_variance", FIELD_NAME, PRESET(zero_variance), .word = zero_variance_word},
    {"penalty", FIELD_NAME, PRESET(penalty), .word = grpoalign_penalty_name},
    {"group_size", FIELD_INTEGER, .at = offsetof(row, group_size)},
    {"beta", FIELD_NUMBER, PRESET(beta)},
    {"advantage", FIELD_TEXT, .at = offsetof(row, advantage_text)},
    {"kl_term", FIELD_TEXT, PRESET(kl)},
    {"stationary", FIELD_TEXT, .at = offsetof(row, stationary_text)},
    {"warning", FIELD_TEXT, PRESET(warning)},
    {.name = NULL}};
/* clang-format on */

/* Describes the settings of a preset as a user gets them who asks for its penalty. */
static void describe(row *self)
{
    settings s = {.given = 0};
    text expected = {0};
    (void)setting_read(&s, SETTING_PRESET, self->preset.name, &expected);
    setting_give(&s, SETTING_PENALTY, self->preset.penalty);
    settings_fill_preset(&s);
    text_advantage(&self->advantage, &s);
    text_stationary(&self->stationary, &s);
    text_free(&expected);
    self->advantage_text = self->advantage.bytes;
    self->stationary_text = self->stationary.bytes;
    self->group_size = self->preset.group_size >= 2 ? self->preset.group_size : -1;
}

static void write_table(const row *self, text *out)
{
    const grpoalign_convention *p = &self->preset;
    text_format(out, "%-23s ", p->name);
    if (self->group_size >= 0) {
        text_format(out, "%-4d", (int)p->group_size);
    } else {
        text_string(out, "?   ");
    }
    if (isnan(p->beta) || p->beta == 0.0) {
        text_format(out, "%-7s", isnan(p->beta) ? "?" : "off");
    } else {
        text_format(out, "%-7g", p->beta);
    }
    text_format(out, "%-44s %-28s %s\n", self->advantage_text,
                grpoalign_penalty_formula(p->penalty), self->stationary_text);
    text_format(out, "    %s; KL term: %s\n", p->trainer, p->kl);
    if (p->warning != NULL) {
        text_format(out, "    ! %s\n", p->warning);
    }
}

static void write_json(const row *self, text *out)
{
    text_string(out, "{");
    json_fields(out, FIELDS, self, 0);
    text_string(out, "}\n");
}

/* Returns the exit status. */
static int write_preset(const char *name, int format)
{
    row self = {.preset = {.struct_size = sizeof self.preset}};
    text out = {0};
    if (grpoalign_preset(name, &self.preset, NULL) < 0) {
        fprintf(stderr,
                "grpoalign presets: unknown preset \"%s\": expected one that grpoalign presets "
                "lists\n",
                name);
        return 2;
    }
    describe(&self);
    int done = !self.advantage.failed && !self.stationary.failed;
    if (done) {
        (format == FORMAT_TABLE ? write_table : write_json)(&self, &out);
        done = !out.failed;
    }
    if (done) {
        fputs(out.bytes, stdout);
    } else {
        fputs("grpoalign presets: out of memory\n", stderr);
    }
    text_free(&self.advantage);
    text_free(&self.stationary);
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
