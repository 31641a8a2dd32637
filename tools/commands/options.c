#include "commands/options.h"

#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char SETTINGS_HELP[] = "Settings, used where a record lacks them:\n";
static const char SHARED_HELP[] =
    "\n"
    "Long tables instead of records; several files, each with its option, add up:\n"
    "  --rollouts FILE.csv               one row per completion; the rows of a prompt form its "
    "context\n"
    "      --prompt COLUMN --reward COLUMN       default \"prompt\" and \"reward\"\n"
    "      --outcome COLUMN                      completions equal here are one outcome (default: "
    "none are)\n"
    "      --count COLUMN                        how often a row was drawn (default 1)\n"
    "      --logprob COLUMN | --reference COLUMN the reference policy (default: the frequencies)\n"
    "  --battles FILE.csv                model_a, model_b, winner or i, j, wins_i, wins_j, ties\n"
    "      --prompt COLUMN                       one context per value (default: one in all)\n"
    "      --weight COLUMN                       weight of a row (default \"weight\" if there is "
    "one, else 1)\n"
    "\n"
    "Output:\n"
    "  --format FORMAT                   jsonl, table or csv, as the command has it; default table "
    "on a terminal\n"
    "  --threads N                       contexts solved side by side; the order stays (default "
    "1)\n"
    "  --timeout SECONDS                 for each context; one that takes longer is \"cancelled\", "
    "the others go on\n"
    "  --strict                          stop at the first record that is bad\n"
    "  --ignore-unknown                  pass over keys of a record that nobody knows\n"
    "  --progress                        a bar on standard error, when that is a terminal\n"
    "\n"
    "Exit status: 0 all solved; 1 some record was bad (see its \"error\"); 2 wrong usage.\n";

/* ---- formats --------------------------------------------------------------------------------- */

/* The formats of a command, and by default tables for people, when it has them and a person may be
 * looking; else the first. */
static format_choice formats_of(const action *what)
{
    static const int usual[] = {FORMAT_JSONL, FORMAT_TABLE, -1};
    format_choice made = {.formats = what->formats != NULL ? what->formats : usual};
    made.format = made.formats[0];
    for (const int *format = made.formats; isatty(STDOUT_FILENO) && *format >= 0; format++) {
        made.format = *format == FORMAT_TABLE ? FORMAT_TABLE : made.format;
    }
    return made;
}

static int read_format(void *into, const char *value, text *expected)
{
    static const char *const names[] = {"jsonl", "table", "csv"};
    format_choice *self = into;
    text_format(expected, "%s or %s", names[self->formats[0]], names[self->formats[1]]);
    for (const int *format = self->formats; *format >= 0; format++) {
        if (strcmp(names[*format], value) == 0) {
            self->format = *format;
            return 1;
        }
    }
    return 0;
}

/* ---- the options ----------------------------------------------------------------------------- */

#define FIELD(member) .field = offsetof(run_options, member)

/* Beside the settings. */
static const parameter SHARED[] = {{"rollouts", SET_TEXTS, FIELD(rollouts)},
                                   {"battles", SET_TEXTS, FIELD(battles)},
                                   {"prompt", SET_TEXT, FIELD(columns.prompt)},
                                   {"reward", SET_TEXT, FIELD(columns.reward)},
                                   {"logprob", SET_TEXT, FIELD(columns.logprob)},
                                   {"outcome", SET_TEXT, FIELD(columns.outcome)},
                                   {"count", SET_TEXT, FIELD(columns.count)},
                                   {"reference", SET_TEXT, FIELD(columns.reference)},
                                   {"weight", SET_TEXT, FIELD(columns.weight)},
                                   {"format", SET_OTHER, FIELD(format), .read = read_format},
                                   {"threads", SET_INTEGER, FIELD(threads), .least = 1,
                                    .most = 1024, .expected = "a number from 1 to 1024"},
                                   {"timeout", SET_NUMBER, FIELD(timeout), .low = ABOVE_ZERO,
                                    .high = INFINITY, .expected = "a number of seconds > 0"},
                                   {"strict", SET_FLAG, FIELD(strict)},
                                   {"progress", SET_FLAG, FIELD(progress)},
                                   {"ignore_unknown", SET_FLAG, FIELD(ignore_unknown)},
                                   {"help", SET_FLAG, .field = 0}};
enum { SHARED_COUNT = sizeof SHARED / sizeof *SHARED };

int usage_error(const action *what, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "grpoalign %s: ", what->command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nTry `grpoalign %s --help`.\n", what->command);
    return 2;
}

/* ---- the command line ------------------------------------------------------------------------ */

/* As many options as a command may add. */
enum { MOST_OWN = 32, MOST = MOST_OWN + SETTINGS + SHARED_COUNT };

/* What the command line may hold: the settings, what is shared, and the command's own options. */
typedef struct known {
    struct option options[MOST + 1];
    char names[MOST][32];
    struct {
        const parameter *parameter;
        void *target;
        int setting; /* SETTINGS for none */
        int given;
    } rows[MOST];
    int count;
} known;

/* What getopt gives for an option, above all characters. An abbreviation that fits several of one
 * kind means the first. */
enum { A_SETTING = 256, A_COLUMN, AN_OWN_ONE, OTHERS };

static int is_column(const parameter *p)
{
    return p->kind == SET_TEXT && p->field < offsetof(run_options, columns) + sizeof(columns) &&
           p->field >= offsetof(run_options, columns);
}

/* Adds an option; one that has the name of another takes its place. */
static void add_option(known *self, const parameter *added, void *target, int setting, int kind)
{
    int k = 0;
    while (k < self->count && !same_name(self->rows[k].parameter->name, added->name)) {
        k++;
    }
    if (k == self->count) {
        self->count++;
        (void)snprintf(self->names[k], sizeof self->names[k], "%s", added->name);
        for (char *c = self->names[k]; *c != '\0'; c++) {
            *c = *c == '_' ? '-' : *c;
        }
        self->options[k].name = self->names[k];
        self->options[k].has_arg = added->kind == SET_FLAG ? no_argument : required_argument;
        self->options[k].val = kind;
    }
    self->rows[k].parameter = added;
    self->rows[k].target = target;
    self->rows[k].setting = setting;
}

static void add_options(known *self, run_options *options, const action *what)
{
    memset(self, 0, sizeof *self);
    for (int id = 0; id < SETTINGS; id++) {
        add_option(self, setting_parameter((setting_id)id), &options->settings, id, A_SETTING);
    }
    for (int k = 0; k < SHARED_COUNT; k++) {
        add_option(self, &SHARED[k], options, SETTINGS,
                   is_column(&SHARED[k]) ? A_COLUMN : OTHERS + k);
    }
    for (const parameter *own = what->options;
         own != NULL && own->name != NULL && self->count < MOST; own++) {
        add_option(self, own, what->user, SETTINGS, AN_OWN_ONE);
    }
}

static void print_help(const action *what)
{
    text settings_part = {0};
    settings_help(&settings_part);
    fputs(what->help, stdout);
    fputs(SETTINGS_HELP, stdout);
    fputs(settings_part.bytes != NULL ? settings_part.bytes : "", stdout);
    fputs(SHARED_HELP, stdout);
    text_free(&settings_part);
}

/* Returns 0, or the exit status + 1. */
static int take_options(known *self, const action *what, int argc, char **argv)
{
    opterr = 0;
    for (int option, k; (option = getopt_long(argc, argv, ":h", self->options, &k)) != -1;) {
        int good = 1;
        if (option == ':') {
            return 1 + usage_error(what, "%s needs a value", argv[optind - 1]);
        }
        if (option == 'h' || (option >= A_SETTING && strcmp(self->names[k], "help") == 0)) {
            print_help(what);
            return 1;
        }
        if (option < A_SETTING) {
            return 1 + usage_error(what, "unknown option \"%s\"", argv[optind - 1]);
        }
        if (self->rows[k].given++ > 0 && self->rows[k].parameter->kind != SET_TEXTS) {
            return 1 + usage_error(what, "--%s is given twice: expected once", self->names[k]);
        }
        text expected = {0};
        if (self->rows[k].setting < SETTINGS) {
            good = setting_read(self->rows[k].target, (setting_id)self->rows[k].setting, optarg,
                                &expected);
        } else {
            good = parameter_set(self->rows[k].parameter, self->rows[k].target, optarg, &expected);
        }
        if (!good) {
            (void)usage_error(what, "--%s is \"%s\": expected %s", self->names[k], optarg,
                              expected.bytes != NULL ? expected.bytes : "another value");
        }
        text_free(&expected);
        if (!good) {
            return 1 + 2;
        }
    }
    return 0;
}

/* Options that do not go together. Returns the exit status. */
static int check_options(const run_options *self, const action *what, int files)
{
    const columns *c = &self->columns;
    if (self->rollouts.count > 0 && self->battles.count > 0) {
        return usage_error(what, "--rollouts and --battles exclude each other");
    }
    if (files > 0 && (self->rollouts.count > 0 || self->battles.count > 0)) {
        return usage_error(what, "files of records and %s exclude each other",
                           self->rollouts.count > 0 ? "--rollouts" : "--battles");
    }
    if (self->rollouts.count == 0 &&
        (c->reward != NULL || c->logprob != NULL || c->outcome != NULL || c->count != NULL ||
         c->reference != NULL)) {
        return usage_error(
            what,
            "--reward, --logprob, --outcome, --count and --reference name columns of --rollouts");
    }
    if (self->battles.count == 0 && c->weight != NULL) {
        return usage_error(what, "--weight names a column of --battles");
    }
    if (self->rollouts.count == 0 && self->battles.count == 0 && c->prompt != NULL) {
        return usage_error(what, "--prompt names a column of --rollouts or --battles");
    }
    if (c->logprob != NULL && c->reference != NULL) {
        return usage_error(what, "--logprob and --reference exclude each other");
    }
    return 0;
}

int options_read(run_options *self, const action *what, int argc, char **argv)
{
    known all;
    memset(self, 0, sizeof *self);
    self->threads = 1;
    self->format = formats_of(what);
    add_options(&all, self, what);
    int over = take_options(&all, what, argc, argv);
    if (over == 0) {
        self->progress = self->progress && isatty(STDERR_FILENO);
        int status = check_options(self, what, argc - optind);
        over = status != 0 ? 1 + status : 0;
    }
    return over;
}

void options_free(run_options *self)
{
    list_free(&self->rollouts);
    list_free(&self->battles);
}
