/* Contexts from files, options and standard input, one after the other or side by side. */
#include "commands/run.h"

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands/batch.h"
#include "base/queue.h"
#include "input/record.h"
#include "input/tables.h"
#include "output/write.h"

static const char SHARED_HELP[] =
    "Settings, used where a record lacks them:\n"
    "  --model pairwise|group|limit      the preference model\n"
    "  --group-size G                    members of a group (group)\n"
    "  --scale std|none|std-of-others|mean   what the centred reward is divided by (default std); "
    "batch-std or\n"
    "                                    batch-std-of-advantages: the std of all contexts of a "
    "file (solve, explain)\n"
    "  --baseline mean|leave-one-out     what the reward is compared with (default mean, of the "
    "whole group)\n"
    "  --epsilon E                       added to the std, or the mean (default 0)\n"
    "  --epsilon-place outside|inside    inside: sqrt(variance + epsilon) (default outside)\n"
    "  --ddof 0|1                        the variance is divided by G - ddof (default 0)\n"
    "  --zero-variance keep|drop         groups whose rewards are all equal, and their penalty "
    "(default keep)\n"
    "  --penalty NAME                    reverse-kl, KL(pi_ref||pi); direct-kl, KL(pi||pi_ref); "
    "none; kl-in-reward;\n"
    "                                    total-variation; squared-log-ratio; chi-squared; "
    "jensen-shannon;\n"
    "                                    alpha (with --alpha A, 0 to 2); reverse-kl-clamped; "
    "direct-kl-clamped\n"
    "  --beta B                          regularisation constant, > 0\n"
    "  --preset NAME                     all of these as a trainer has them, where nothing else "
    "says otherwise;\n"
    "                                    \"grpoalign presets\" lists the names\n"
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

typedef struct run {
    const action *action;
    settings settings;
    columns columns;
    const char *rollouts, *battles;
    style style;
    int threads, strict, progress;
    int flush; /* somebody may be waiting for each result */
    queue *queue;
    batch batch;      /* of the file at hand */
    int cut_short;    /* not all of that could be read */
    int bad;          /* some record was bad */
    int stopped;      /* not all results went out */
    int output_error; /* errno of standard output */
    /* progress */
    long long bytes_all, records;
    FILE *file;
    int percent;
} run;

typedef struct task {
    run *run;
    context context; /* from a table */
    char *line;      /* from a file of records, else NULL */
    size_t length;
    text place, error; /* error: what is wrong with the record already */
    const char *status;
    char status_text[24];
    int joins; /* it is solved with the others of its file */
} task;

static void task_free(void *work)
{
    task *self = work;
    context_free(&self->context);
    free(self->line);
    text_free(&self->place);
    text_free(&self->error);
    free(self);
}

/* Solves a context and has it written. Returns 1 when it went well. */
static int solve_alone(const action *what, const context *c, const char *place, const style *how,
                       text *out)
{
    grpoalign_error error;
    result found = {.contexts = 0};
    grpoalign_status status = result_solve(&found, c, &error);
    if (status < 0) {
        write_library_error(out, how, c, status, place, error.message);
    } else {
        what->answer(c, &found, how, out);
    }
    result_free(&found);
    return status >= 0;
}

/* Parses, fills up, solves and writes one context. */
static int do_task(job *under_way)
{
    task *self = under_way->work;
    text *output = &under_way->output;
    const char *place = self->place.bytes != NULL ? self->place.bytes : "?";
    int solved = 0;
    if (self->line != NULL && self->status == NULL &&
        record_parse(self->line, self->length, &self->context, &self->status, &self->error)) {
        settings_fill(&self->context.settings, &self->run->settings);
    }
    if (self->status == NULL) {
        const action *what = self->run->action;
        if (what->prepare != NULL) {
            what->prepare(what->user, &self->context.settings);
        }
        settings_fill_preset(&self->context.settings, self->context.margins != NULL);
        const char *wrong = context_contradiction(&self->context);
        if (wrong != NULL) {
            write_error(output, &self->run->style, self->context.id, "contradiction", place, wrong);
        } else if (is_in_batch(&self->context.settings) && what->answer == NULL) {
            write_error(output, &self->run->style, self->context.id, "unsupported", place,
                        "the std of a batch couples the contexts of a file: expected grpoalign "
                        "solve or explain");
        } else if (is_in_batch(&self->context.settings)) {
            self->joins = solved = 1;
        } else if (what->act != NULL) {
            solved = what->act(what->user, &self->context, place, &self->run->style, output,
                               &under_way->aside);
        } else {
            solved = solve_alone(what, &self->context, place, &self->run->style, output);
        }
    } else {
        write_error(output, &self->run->style, self->context.id, self->status, place,
                    self->error.bytes != NULL ? self->error.bytes : "out of memory");
    }
    return solved;
}

static void show_progress(run *self)
{
    self->records++;
    if (!self->progress) {
        return;
    }
    int percent = -1;
    if (self->bytes_all > 0 && self->file != NULL) {
        long at = ftell(self->file);
        percent = at >= 0 ? (int)(100.0 * (double)at / (double)self->bytes_all) : -1;
    }
    if (percent < 0 && self->records % 100 == 0) {
        fprintf(stderr, "\r%lld contexts", self->records);
    } else if (percent > self->percent) {
        self->percent = percent;
        fprintf(stderr, "\r[%-40.*s] %3d %%  %lld contexts", percent * 40 / 100,
                "########################################", percent, self->records);
    }
}

/* main says so, with the errno of now. */
static int output_failed(run *self)
{
    self->output_error = errno;
    self->bad = self->stopped = 1;
    return 0;
}

/* Writes a result. Returns 0 to stop. */
static int deliver(run *self, const text *output, int solved)
{
    if (output->failed) {
        fputs("grpoalign: out of memory for a result\n", stderr);
        solved = 0;
    } else if (output->length > 0 &&
               fwrite(output->bytes, 1, output->length, stdout) < output->length) {
        return output_failed(self);
    }
    if (self->flush && fflush(stdout) != 0) {
        return output_failed(self);
    }
    self->bad = self->bad || !solved;
    self->stopped = self->stopped || (self->strict && !solved);
    return !self->stopped;
}

/* Writes what is held back, as far as there is something to write, and forgets it. Returns 0 to
 * stop. */
static int drop_batch(run *self)
{
    int more = 1;
    for (size_t k = 0; more && k < self->batch.count; k++) {
        more = deliver(self, &self->batch.items[k].output, self->batch.items[k].solved);
    }
    batch_free(&self->batch);
    return more;
}

static int on_done(void *user, job *finished)
{
    run *self = user;
    task *done = finished->work;
    int more = 1;
    if (self->action->collect != NULL && !finished->aside.failed) {
        self->action->collect(self->action->user, &finished->aside);
    }
    if (self->strict && !finished->solved && !drop_batch(self)) {
        return 0;
    }
    if (!done->joins && self->batch.count == 0) {
        more = deliver(self, &finished->output, finished->solved);
    } else if (!batch_hold(&self->batch, done->joins ? &done->context : NULL, &done->place,
                           &finished->output, finished->solved)) {
        fputs("grpoalign: out of memory for a batch\n", stderr);
        self->bad = self->stopped = 1;
        more = 0;
    }
    show_progress(self);
    return more;
}

/* What the batch of a file has held back. Returns 0 to stop. */
static int settle_batch(run *self)
{
    if (self->cut_short) {
        batch_refuse(&self->batch, &self->style, "read",
                     "the batch is not whole: its file could not be read to the end");
    } else {
        batch_solve(&self->batch, self->action, &self->style, self->strict);
    }
    return drop_batch(self);
}

static task *task_new(run *self, const char *name, long line)
{
    task *made = calloc(1, sizeof *made);
    if (made != NULL) {
        made->run = self;
        text_format(&made->place, "%s:%ld", name, line);
    }
    return made;
}

/* ---- records
 * ------------------------------------------------------------------------------------------------------
 */

/*
 * The next line without its newline, at most RECORD_MOST_BYTES of it. Returns 0 at the end, 1 with
 * a line, -1 when it is too long (the rest is skipped), -2 when memory is short.
 */
static int next_line(FILE *file, char **line, size_t *length)
{
    size_t used = 0, room = 0;
    char *bytes = NULL;
    int byte, long_line = 0, short_memory = 0;
    while ((byte = getc_unlocked(file)) != EOF && byte != '\n') {
        if (long_line || short_memory) {
            continue;
        }
        if (used >= RECORD_MOST_BYTES) {
            long_line = 1;
            free(bytes);
            bytes = NULL;
            continue;
        }
        if (used + 1 >= room) {
            size_t wanted = room > 0 ? 2 * room : 512;
            char *grown = realloc(bytes, wanted);
            if (grown == NULL) {
                short_memory = 1;
                continue;
            }
            bytes = grown;
            room = wanted;
        }
        bytes[used++] = (char)byte;
    }
    *line = bytes;
    *length = used;
    if (byte == EOF && used == 0) {
        free(bytes);
        *line = NULL;
        return 0;
    }
    if (long_line || short_memory) {
        free(bytes);
        *line = NULL;
        return long_line ? -1 : -2;
    }
    if (bytes == NULL) {
        *line = calloc(1, 1);
        return *line != NULL ? 1 : -2;
    }
    return 1;
}

static int is_blank(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (strchr(" \t\r", line[i]) == NULL || line[i] == '\0') {
            return 0;
        }
    }
    return 1;
}

/* Returns 0 to stop. */
static int read_records(run *self, FILE *file, const char *name)
{
    long number = 0, records = 0;
    int found, more = 1;
    char *line;
    size_t length;
    self->file = file;
    while (more && (found = next_line(file, &line, &length)) != 0) {
        number++;
        if (found > 0 && number == 1 && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
            memmove(line, line + 3, length - 3);
            length -= 3;
        }
        if (found > 0 && is_blank(line, length)) {
            free(line);
            continue;
        }
        task *made = task_new(self, name, number);
        if (made == NULL) {
            free(line);
            fputs("grpoalign: out of memory\n", stderr);
            self->bad = self->cut_short = 1;
            return 0;
        }
        records++;
        made->line = line;
        made->length = length;
        if (found < 0) {
            made->status = found == -1 ? "too_large" : "memory";
            text_format(&made->error,
                        found == -1 ? "the line is longer than %zu MiB" : "out of memory (%zu MiB)",
                        RECORD_MOST_BYTES >> 20);
        }
        more = queue_submit(self->queue, made);
    }
    if (more && ferror(file)) {
        fprintf(stderr, "grpoalign: %s cannot be read: %s\n", name, strerror(errno));
        self->bad = self->cut_short = 1;
    } else if (more && records == 0) {
        task *made = task_new(self, name, 1);
        if (made != NULL) {
            made->status = "empty";
            text_string(&made->error, "there is no record: expected one JSON object per line");
            more = queue_submit(self->queue, made);
        }
    }
    return more;
}

/* ---- tables
 * ----------------------------------------------------------------------------------------------------------
 */

static int on_context(void *user, context *built, const char *place, const char *status,
                      const char *message)
{
    run *self = user;
    task *made = calloc(1, sizeof *made);
    if (made == NULL) {
        fputs("grpoalign: out of memory\n", stderr);
        self->bad = self->cut_short = 1;
        return 0;
    }
    made->run = self;
    made->context = *built;
    memset(built, 0, sizeof *built);
    text_string(&made->place, place);
    if (status != NULL) {
        (void)snprintf(made->status_text, sizeof made->status_text, "%s", status);
        made->status = made->status_text;
        text_string(&made->error, message);
    }
    return queue_submit(self->queue, made);
}

/* ---- options
 * ----------------------------------------------------------------------------------------------------------
 */

static int usage_error(const run *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int usage_error(const run *self, const char *format, ...)
{
    va_list arguments;
    fprintf(stderr, "grpoalign %s: ", self->action->command);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\nTry `grpoalign %s --help`.\n", self->action->command);
    return 2;
}

enum {
    OPTION_SETTING = 256,
    OPTION_COLUMN,
    OPTION_ROLLOUTS,
    OPTION_BATTLES,
    OPTION_FORMAT,
    OPTION_THREADS,
    OPTION_STRICT,
    OPTION_PROGRESS,
    OPTION_HELP,
    OPTION_OWN
};

/* As many options as a command may add. */
enum { MOST_OWN = 32 };

static const struct option OPTIONS[] = {
    {"model", required_argument, NULL, OPTION_SETTING},
    {"group-size", required_argument, NULL, OPTION_SETTING},
    {"scale", required_argument, NULL, OPTION_SETTING},
    {"epsilon", required_argument, NULL, OPTION_SETTING},
    {"ddof", required_argument, NULL, OPTION_SETTING},
    {"baseline", required_argument, NULL, OPTION_SETTING},
    {"epsilon-place", required_argument, NULL, OPTION_SETTING},
    {"zero-variance", required_argument, NULL, OPTION_SETTING},
    {"alpha", required_argument, NULL, OPTION_SETTING},
    {"preset", required_argument, NULL, OPTION_SETTING},
    {"penalty", required_argument, NULL, OPTION_SETTING},
    {"beta", required_argument, NULL, OPTION_SETTING},
    {"rollouts", required_argument, NULL, OPTION_ROLLOUTS},
    {"battles", required_argument, NULL, OPTION_BATTLES},
    {"prompt", required_argument, NULL, OPTION_COLUMN},
    {"reward", required_argument, NULL, OPTION_COLUMN},
    {"logprob", required_argument, NULL, OPTION_COLUMN},
    {"outcome", required_argument, NULL, OPTION_COLUMN},
    {"count", required_argument, NULL, OPTION_COLUMN},
    {"reference", required_argument, NULL, OPTION_COLUMN},
    {"weight", required_argument, NULL, OPTION_COLUMN},
    {"format", required_argument, NULL, OPTION_FORMAT},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"strict", no_argument, NULL, OPTION_STRICT},
    {"progress", no_argument, NULL, OPTION_PROGRESS},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

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

/* Returns 0 when the command has no such format. */
static int parse_format(run *self, const char *name)
{
    for (const int *format = formats_of(self->action); *format >= 0; format++) {
        if (strcmp(FORMAT_NAMES[*format], name) == 0) {
            self->style.format = *format;
            return 1;
        }
    }
    return 0;
}

/* Returns 0, or the exit status + 1 when there is nothing left to do. */
static int parse_options(run *self, int argc, char **argv)
{
    struct option options[sizeof OPTIONS / sizeof *OPTIONS + MOST_OWN];
    size_t own = 0, shared = sizeof OPTIONS / sizeof *OPTIONS - 1;
    memset(options, 0, sizeof options);
    memcpy(options, OPTIONS, shared * sizeof *OPTIONS);
    for (;
         self->action->options != NULL && self->action->options[own].name != NULL && own < MOST_OWN;
         own++) {
        options[shared + own].name = self->action->options[own].name;
        options[shared + own].has_arg =
            self->action->options[own].takes_value ? required_argument : no_argument;
        options[shared + own].val = OPTION_OWN;
    }
    const struct {
        const char *name;
        const char **target;
    } named[] = {{"prompt", &self->columns.prompt},   {"reward", &self->columns.reward},
                 {"logprob", &self->columns.logprob}, {"outcome", &self->columns.outcome},
                 {"count", &self->columns.count},     {"reference", &self->columns.reference},
                 {"weight", &self->columns.weight}};
    opterr = 0;
    for (int option, at; (option = getopt_long(argc, argv, ":h", options, &at)) != -1;) {
        if (option == OPTION_OWN || (option == OPTION_SETTING && self->action->option != NULL)) {
            /* A command may take a setting's option for itself. */
            text expected = {0};
            int taken =
                self->action->option(self->action->user, options[at].name, optarg, &expected);
            if (taken == 0) {
                int status = usage_error(self, "--%s is \"%s\": expected %s", options[at].name,
                                         optarg, expected.bytes);
                text_free(&expected);
                return 1 + status;
            }
            text_free(&expected);
            if (taken > 0) {
                continue;
            }
        }
        if (option == OPTION_SETTING) {
            char name[32];
            text expected = {0};
            (void)snprintf(name, sizeof name, "%s", options[at].name);
            for (char *c = name; *c != '\0'; c++) {
                *c = *c == '-' ? '_' : *c;
            }
            if (settings_parse(&self->settings, name, optarg, &expected) <= 0) {
                int status = usage_error(self, "--%s is \"%s\": expected %s", options[at].name,
                                         optarg, expected.bytes);
                text_free(&expected);
                return 1 + status;
            }
            text_free(&expected);
        } else if (option == OPTION_COLUMN) {
            for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
                if (strcmp(named[i].name, options[at].name) == 0) {
                    *named[i].target = optarg;
                }
            }
        } else if (option == OPTION_ROLLOUTS) {
            self->rollouts = optarg;
        } else if (option == OPTION_BATTLES) {
            self->battles = optarg;
        } else if (option == OPTION_FORMAT) {
            if (!parse_format(self, optarg)) {
                const int *formats = formats_of(self->action);
                return 1 + usage_error(self, "--format is \"%s\": expected %s or %s", optarg,
                                       FORMAT_NAMES[formats[0]], FORMAT_NAMES[formats[1]]);
            }
        } else if (option == OPTION_THREADS) {
            char *end;
            long threads = strtol(optarg, &end, 10);
            if (*optarg == '\0' || *end != '\0' || threads < 1 || threads > 1024) {
                return 1 + usage_error(self,
                                       "--threads is \"%s\": expected a number from 1 to 1024",
                                       optarg);
            }
            self->threads = (int)threads;
        } else if (option == OPTION_STRICT) {
            self->strict = 1;
        } else if (option == OPTION_PROGRESS) {
            self->progress = isatty(STDERR_FILENO);
        } else if (option == OPTION_HELP || option == 'h') {
            fputs(self->action->help, stdout);
            fputs(SHARED_HELP, stdout);
            return 1;
        } else if (option == ':') {
            return 1 + usage_error(self, "%s needs a value", argv[optind - 1]);
        } else {
            return 1 + usage_error(self, "unknown option \"%s\"", argv[optind - 1]);
        }
    }
    return 0;
}

static int check_options(const run *self, int files)
{
    const columns *c = &self->columns;
    if (self->rollouts != NULL && self->battles != NULL) {
        return usage_error(self, "--rollouts and --battles exclude each other");
    }
    if (files > 0 && (self->rollouts != NULL || self->battles != NULL)) {
        return usage_error(self, "files of records and %s exclude each other",
                           self->rollouts != NULL ? "--rollouts" : "--battles");
    }
    if (self->rollouts == NULL && (c->reward != NULL || c->logprob != NULL || c->outcome != NULL ||
                                   c->count != NULL || c->reference != NULL)) {
        return usage_error(
            self,
            "--reward, --logprob, --outcome, --count and --reference name columns of --rollouts");
    }
    if (self->battles == NULL && c->weight != NULL) {
        return usage_error(self, "--weight names a column of --battles");
    }
    if (self->rollouts == NULL && self->battles == NULL && c->prompt != NULL) {
        return usage_error(self, "--prompt names a column of --rollouts or --battles");
    }
    if (c->logprob != NULL && c->reference != NULL) {
        return usage_error(self, "--logprob and --reference exclude each other");
    }
    return 0;
}

static FILE *open_input(const char *name)
{
    if (strcmp(name, "-") == 0) {
        return stdin;
    }
    FILE *file = fopen(name, "rb");
    struct stat about;
    if (file != NULL && fstat(fileno(file), &about) == 0 && S_ISDIR(about.st_mode)) {
        (void)fclose(file);
        file = NULL;
        errno = EISDIR;
    }
    return file;
}

/* Contexts are small and many: threads inside the BLAS library would mostly wait for each other.
 * --threads sets contexts side by side instead. The library leaves this choice to its host, which
 * is this program. */
static void quiet_blas(void)
{
    void (*set_threads)(int);
    void *found = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    if (found != NULL) {
        memcpy(&set_threads, &found, sizeof set_threads);
        set_threads(1);
    }
}

static int process(run *self, const char *const *names, int count)
{
    static const char *const standard_input[] = {"-"};
    const char *table = self->rollouts != NULL ? self->rollouts : self->battles;
    if (table != NULL) {
        names = &table;
        count = 1;
    } else if (count == 0) {
        names = standard_input;
        count = 1;
    }
    /* Every file is opened before any is read: a misspelt name costs no hour. */
    FILE **files = calloc((size_t)count, sizeof *files);
    int status = files != NULL ? 0 : 1;
    for (int i = 0; status == 0 && i < count; i++) {
        struct stat about;
        files[i] = open_input(names[i]);
        if (files[i] == NULL) {
            fprintf(stderr, "grpoalign %s: %s: %s\n", self->action->command, names[i],
                    strerror(errno));
            status = 2;
        } else if (count == 1 && fstat(fileno(files[i]), &about) == 0 && S_ISREG(about.st_mode)) {
            self->bytes_all = about.st_size;
        }
    }
    int more = 1;
    for (int i = 0; status == 0 && more && i < count; i++) {
        const char *name = strcmp(names[i], "-") == 0 ? "(standard input)" : names[i];
        if (table != NULL) {
            int (*read)(FILE *, const char *, const columns *, const settings *, context_sink,
                        void *) = self->rollouts != NULL ? read_rollouts : read_battles;
            more = read(files[i], name, &self->columns, &self->settings, on_context, self);
        } else {
            more = read_records(self, files[i], name);
        }
        more = queue_wait(self->queue) && settle_batch(self) && more;
        self->cut_short = 0;
    }
    for (int i = 0; files != NULL && i < count; i++) {
        if (files[i] != NULL && files[i] != stdin) {
            (void)fclose(files[i]);
        }
    }
    self->file = NULL;
    free(files);
    return status;
}

int run_contexts(const action *what, int argc, char **argv)
{
    run self;
    memset(&self, 0, sizeof self);
    self.action = what;
    self.style.format = default_format(what);
    self.threads = 1;
    struct stat about;
    self.flush = fstat(STDOUT_FILENO, &about) != 0 || !S_ISREG(about.st_mode);
    int over = parse_options(&self, argc, argv);
    if (over != 0) {
        return over - 1;
    }
    int status = check_options(&self, argc - optind);
    if (status == 0 && what->begin != NULL) {
        text before = {0}, wrong = {0};
        if (!what->begin(what->user, &self.style, &before, &wrong)) {
            status = usage_error(&self, "%s", wrong.bytes != NULL ? wrong.bytes : "out of memory");
        } else if (before.length > 0 &&
                   fwrite(before.bytes, 1, before.length, stdout) < before.length) {
            status = 1; /* main says why */
        }
        text_free(&before);
        text_free(&wrong);
    }
    if (status != 0) {
        return status;
    }
    quiet_blas();
    self.queue = queue_new(self.threads, do_task, on_done, task_free, &self);
    if (self.queue == NULL) {
        fputs("grpoalign: out of memory\n", stderr);
        return 1;
    }
    status = process(&self, (const char *const *)(argv + optind), argc - optind);
    (void)queue_finish(self.queue);
    batch_free(&self.batch);
    if (self.progress) {
        fputs("\n", stderr);
    }
    text wrong = {0};
    if (!self.stopped && fflush(stdout) != 0) {
        (void)output_failed(&self);
    }
    if (status == 0 && what->finish != NULL && !what->finish(what->user, !self.stopped, &wrong)) {
        fprintf(stderr, "grpoalign %s: %s\n", what->command,
                wrong.bytes != NULL ? wrong.bytes : "out of memory");
        self.bad = 1;
    }
    text_free(&wrong);
    errno = self.output_error;
    return status != 0 ? status : self.bad;
}
