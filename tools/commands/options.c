#include "commands/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char SETTINGS_HELP[] = "Settings, used where a record lacks them:\n";
static const char SHARED_HELP[] =
    "\n"
    "Long tables instead of records:\n"
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
    "  --strict                          stop at the first record that is bad\n"
    "  --progress                        a bar on standard error, when that is a terminal\n"
    "\n"
    "Exit status: 0 all solved; 1 some record was bad (see its \"error\"); 2 wrong usage.\n";

#define FIELD(member) .field = offsetof(run_options, member)

/* Beside the settings. */
static const parameter SHARED[] = {{"rollouts", SET_TEXT, FIELD(rollouts)},
                                   {"battles", SET_TEXT, FIELD(battles)},
                                   {"prompt", SET_TEXT, FIELD(columns.prompt)},
                                   {"reward", SET_TEXT, FIELD(columns.reward)},
                                   {"logprob", SET_TEXT, FIELD(columns.logprob)},
                                   {"outcome", SET_TEXT, FIELD(columns.outcome)},
                                   {"count", SET_TEXT, FIELD(columns.count)},
                                   {"reference", SET_TEXT, FIELD(columns.reference)},
                                   {"weight", SET_TEXT, FIELD(columns.weight)},
                                   {"format", SET_TEXT, FIELD(format_name)},
                                   {"threads", SET_INTEGER, FIELD(threads), .least = 1,
                                    .most = 1024, .expected = "a number from 1 to 1024"},
                                   {"strict", SET_FLAG, FIELD(strict)},
                                   {"progress", SET_FLAG, FIELD(progress)},
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

/* ---- formats --------------------------------------------------------------------------------- */

static const char *const FORMAT_NAMES[] = {"jsonl", "table", "csv"};

static const int *formats_of(const action *what)
{
    static const int usual[] = {FORMAT_JSONL, FORMAT_TABLE, -1};
    return what->formats != NULL ? what->formats : usual;
}

/* Tables for people, when the command has them and a person may be looking; else the first format.
 */
static int default_format(const action *what)
{
    const int *formats = formats_of(what);
    for (int i = 0; isatty(STDOUT_FILENO) && formats[i] >= 0; i++) {
        if (formats[i] == FORMAT_TABLE) {
            return FORMAT_TABLE;
        }
    }
    return formats[0];
}

/* The format of a name, -1 when the command has no such. */
static int find_format(const action *what, const char *name)
{
    for (const int *format = formats_of(what); *format >= 0; format++) {
        if (strcmp(FORMAT_NAMES[*format], name) == 0) {
            return *format;
        }
    }
    return -1;
}

/* ---- the command line ------------------------------------------------------------------------ */

/* As many options as a command may add. */
enum { MOST_OWN = 32, MOST = MOST_OWN + SETTINGS + SHARED_COUNT };

/* What the command line may hold: the command's own options, the settings, and what is shared. */
typedef struct known {
    struct option options[MOST + 1];
    char names[MOST][32];
    struct {
        const parameter *parameter;
        void *target;
        int setting; /* SETTINGS for none */
    } rows[MOST];
    int count;
} known;

enum { FIRST = 256 }; /* above all characters */

/* Adds an option, unless there is one of that name. */
static void add_option(known *self, const parameter *added, void *target, int setting)
{
    for (int k = 0; k < self->count; k++) {
        if (same_name(self->rows[k].parameter->name, added->name)) {
            return;
        }
    }
    int k = self->count++;
    (void)snprintf(self->names[k], sizeof self->names[k], "%s", added->name);
    for (char *c = self->names[k]; *c != '\0'; c++) {
        *c = *c == '_' ? '-' : *c;
    }
    self->rows[k].parameter = added;
    self->rows[k].target = target;
    self->rows[k].setting = setting;
    self->options[k].name = self->names[k];
    self->options[k].has_arg = added->kind == SET_FLAG ? no_argument : required_argument;
    self->options[k].val = FIRST + k;
}

static void add_options(known *self, run_options *options, const action *what)
{
    memset(self, 0, sizeof *self);
    for (const parameter *own = what->options;
         own != NULL && own->name != NULL && self->count < MOST_OWN; own++) {
        add_option(self, own, what->user, SETTINGS);
    }
    for (int id = 0; id < SETTINGS; id++) {
        add_option(self, setting_parameter((setting_id)id), &options->settings, id);
    }
    for (int k = 0; k < SHARED_COUNT; k++) {
        add_option(self, &SHARED[k], options, SETTINGS);
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
    for (int option; (option = getopt_long(argc, argv, ":h", self->options, NULL)) != -1;) {
        int k = option - FIRST, good = 1;
        if (option == ':') {
            return 1 + usage_error(what, "%s needs a value", argv[optind - 1]);
        }
        if (option == 'h' || (k >= 0 && strcmp(self->names[k], "help") == 0)) {
            print_help(what);
            return 1;
        }
        if (k < 0) {
            return 1 + usage_error(what, "unknown option \"%s\"", argv[optind - 1]);
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
    if (self->rollouts != NULL && self->battles != NULL) {
        return usage_error(what, "--rollouts and --battles exclude each other");
    }
    if (files > 0 && (self->rollouts != NULL || self->battles != NULL)) {
        return usage_error(what, "files of records and %s exclude each other",
                           self->rollouts != NULL ? "--rollouts" : "--battles");
    }
    if (self->rollouts == NULL && (c->reward != NULL || c->logprob != NULL || c->outcome != NULL ||
                                   c->count != NULL || c->reference != NULL)) {
        return usage_error(
            what,
            "--reward, --logprob, --outcome, --count and --reference name columns of --rollouts");
    }
    if (self->battles == NULL && c->weight != NULL) {
        return usage_error(what, "--weight names a column of --battles");
    }
    if (self->rollouts == NULL && self->battles == NULL && c->prompt != NULL) {
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
    self->format = default_format(what);
    add_options(&all, self, what);
    int over = take_options(&all, what, argc, argv);
    if (over != 0) {
        return over;
    }
    if (self->format_name != NULL) {
        const int *formats = formats_of(what);
        self->format = find_format(what, self->format_name);
        if (self->format < 0) {
            return 1 + usage_error(what, "--format is \"%s\": expected %s or %s", self->format_name,
                                   FORMAT_NAMES[formats[0]], FORMAT_NAMES[formats[1]]);
        }
    }
    self->progress = self->progress && isatty(STDERR_FILENO);
    int status = check_options(self, what, argc - optind);
    return status != 0 ? 1 + status : 0;
}
