/* Contexts from files, options and standard input, one after the other or side by side. */
#include "commands/run.h"

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/output.h"
#include "base/queue.h"
#include "commands/batch.h"
#include "commands/cost.h"
#include "commands/options.h"
#include "input/lines.h"
#include "input/record.h"
#include "input/tables.h"

typedef struct run {
    const action *action;
    run_options options;
    style style;
    queue *queue;
    list batch;     /* of the file at hand */
    int cut_short;  /* not all of that could be read */
    int lost;       /* memory was short for one of its contexts */
    atomic_int bad; /* some record was bad, or could not be read */
    int stopped;    /* not all results went out */
    /* progress */
    long long bytes_all, records;
    atomic_llong bytes_read; /* -1: not known */
    int percent;
} run;

/* ---- one context ----------------------------------------------------------------------------- */

typedef struct task {
    run *run;
    context context; /* from a table */
    text line;       /* a record, or empty */
    text place;
    const char *status; /* what is wrong already, or NULL */
    text error;
    int joins; /* it is solved with the others of its file */
    int lost;  /* memory was short for it: who would have been solved with it cannot be */
} task;

static task *task_new(run *self, const char *name, long line)
{
    task *made = memory_calloc(1, sizeof *made);
    if (made == NULL) {
        fputs("grpoalign: out of memory\n", stderr);
        self->bad = self->cut_short = 1;
        return NULL;
    }
    made->run = self;
    if (line > 0) {
        text_format(&made->place, "%s:%ld", name, line);
    } else {
        text_string(&made->place, name);
    }
    return made;
}

static void task_free(void *work)
{
    task *self = work;
    context_free(&self->context);
    text_free(&self->line);
    text_free(&self->place);
    text_free(&self->error);
    free(self);
}

/* Solves a context and has it written. Returns 1 when it went well. */
static int solve_alone(const action *what, const context *c, const reply *to)
{
    grpoalign_error error;
    result found = {.contexts = 0};
    grpoalign_status status = result_solve(&found, c, &error);
    if (status < 0) {
        write_library_error(to, c->id, status, error.message);
    } else {
        what->answer(c, &found, to);
    }
    result_free(&found);
    return status >= 0;
}

/* Says beforehand what takes long, unless its time is over before. */
static void tell_cost(const task *self, const char *place)
{
    const action *what = self->run->action;
    const context *c = &self->context;
    double seconds = what->cost != NULL ? what->cost(what->user, c) : cost_of_solving(c);
    text duration = {0};
    if (!(seconds > LONG_SECONDS) || (c->seconds > 0.0 && c->seconds < LONG_SECONDS)) {
        return;
    }
    text_duration(&duration, seconds);
    fprintf(stderr, "grpoalign %s: %s: it may take %s; --timeout SECONDS ends it before\n",
            what->command, place, duration.bytes != NULL ? duration.bytes : "long");
    text_free(&duration);
}

/* Completes a context and acts on it. Returns 1 when it went well. */
static int act_on(task *self, const reply *to)
{
    const action *what = self->run->action;
    context *c = &self->context;
    context_imply(c);
    if (what->prepare != NULL) {
        what->prepare(what->user, &c->settings);
    }
    settings_fill_preset(&c->settings);
    const char *wrong = context_contradiction(c);
    if (wrong != NULL) {
        write_error(to, c->id, "contradiction", "%s", wrong);
        return 0;
    }
    tell_cost(self, to->place);
    if (!is_in_batch(&c->settings)) {
        return what->act != NULL ? what->act(what->user, c, to) : solve_alone(what, c, to);
    }
    self->joins = what->answer != NULL;
    if (!self->joins) {
        write_error(to, c->id, "unsupported",
                    "the std of a batch couples the contexts of a file: expected grpoalign solve "
                    "or explain");
    }
    return self->joins;
}

/* Where a context's answer goes. */
static reply reply_to(const task *self, job *under_way)
{
    return (reply){.how = &self->run->style,
                   .place = self->place.bytes != NULL ? self->place.bytes : "?",
                   .out = &under_way->output,
                   .aside = &under_way->aside};
}

/* Parses, fills up, solves and writes one context. */
static int write_answer(task *self, job *under_way)
{
    const reply to = reply_to(self, under_way);
    const double seconds = self->run->options.timeout;
    const deadline until = deadline_in(seconds);
    if (self->line.length > 0 && self->status == NULL &&
        record_parse(&self->line, self->run->options.ignore_unknown, &self->context, &self->status,
                     &self->error)) {
        settings_fill(&self->context.settings, &self->run->options.settings);
    }
    if (self->status != NULL) {
        write_error(&to, self->context.id, self->status, "%s",
                    self->error.bytes != NULL ? self->error.bytes : "out of memory");
        return 0;
    }
    self->context.seconds = seconds;
    self->context.until = until;
    return act_on(self, &to);
}

/* The same, but that nothing is told which came out without some of its parts. */
static int do_task(job *under_way)
{
    task *self = under_way->work;
    const long refused = memory_refused();
    int solved = write_answer(self, under_way);
    if (memory_refused() != refused) {
        const reply to = reply_to(self, under_way);
        text_free(&under_way->output);
        text_free(&under_way->aside);
        self->joins = solved = 0;
        self->lost = 1;
        write_error(&to, self->context.id, "memory", "out of memory");
    }
    return solved;
}

/* ---- results in order ------------------------------------------------------------------------ */

static void show_progress(run *self)
{
    int percent = -1;
    self->records++;
    if (!self->options.progress) {
        return;
    }
    long long at = self->bytes_read;
    if (self->bytes_all > 0 && at >= 0) {
        percent = (int)(100.0 * (double)at / (double)self->bytes_all);
    }
    if (percent < 0 && self->records % 100 == 0) {
        fprintf(stderr, "\r%lld contexts", self->records);
    } else if (percent > self->percent) {
        self->percent = percent;
        fprintf(stderr, "\r[%-40.*s] %3d %%  %lld contexts", percent * 40 / 100,
                "########################################", percent, self->records);
    }
}

/* Writes a piece to standard output. Returns 0, and says why, when it cannot. */
static int put(run *self, const text *piece)
{
    if (piece->length > 0 && !output_write(piece->bytes, piece->length)) {
        fprintf(stderr, "grpoalign: cannot write to standard output: %s\n", strerror(errno));
        self->bad = self->stopped = 1;
        return 0;
    }
    return 1;
}

/* Writes a result. Returns 0 to stop. */
static int deliver(run *self, const text *output, int solved)
{
    if (output->failed) {
        fputs("grpoalign: out of memory for a result\n", stderr);
        solved = 0;
    } else if (self->action->sums && output->length > 0) {
        (void)fwrite(output->bytes, 1, output->length, stderr);
    } else if (!put(self, output)) {
        return 0;
    }
    if (!solved) {
        self->bad = 1;
        self->stopped = self->stopped || self->options.strict;
    }
    return !self->stopped;
}

/* Writes what is held back, as far as there is something to write, and forgets it. Returns 0 to
 * stop. */
static int deliver_batch(run *self)
{
    const held *items = self->batch.items;
    int more = 1;
    for (size_t k = 0; more && k < self->batch.count; k++) {
        more = deliver(self, &items[k].output, items[k].solved);
    }
    batch_free(&self->batch);
    return more;
}

static int on_done(void *user, job *finished)
{
    run *self = user;
    task *done = finished->work;
    int more = 1;
    self->lost |= done->lost || (done->status != NULL && strcmp(done->status, "memory") == 0);
    if (self->action->collect != NULL && !finished->aside.failed) {
        self->action->collect(self->action->user, &finished->aside);
    }
    if (self->options.strict && !finished->solved && !deliver_batch(self)) {
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

/* Solves the batch of a file and writes all that it has held back. Returns 0 to stop. */
static int finish_batch(run *self)
{
    if (self->cut_short) {
        batch_refuse(&self->batch, &self->style, "read",
                     "the batch is not whole: its file could not be read to the end");
    } else if (self->lost) {
        batch_refuse(&self->batch, &self->style, "memory",
                     "the batch is not whole: memory was short for one of its contexts");
    } else {
        const long refused = memory_refused();
        batch_solve(&self->batch, self->action, &self->style, self->options.strict);
        if (memory_refused() != refused) {
            batch_refuse(&self->batch, &self->style, "memory", "out of memory");
        }
    }
    return deliver_batch(self);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Hands a line on as a task; `found` tells how it was read. Returns 0 to stop. */
static int submit_line(run *self, const char *name, long number, int found, text *line)
{
    task *made = task_new(self, name, number);
    if (made == NULL) {
        return 0;
    }
    if (made->place.failed) {
        made->status = "memory";
    } else if (found == LINE_READ) {
        made->line = *line;
        memset(line, 0, sizeof *line);
    } else {
        made->status = found == LINE_TOO_LONG ? "too_large" : "memory";
        text_format(&made->error,
                    found == LINE_TOO_LONG ? "the line is longer than %zu MiB"
                                           : "out of memory (%zu MiB)",
                    RECORD_MOST_BYTES >> 20);
        text_free(line);
    }
    return queue_submit(self->queue, made);
}

/* Returns 0 to stop. */
static int read_records(run *self, FILE *file, const char *name)
{
    long number = 0, records = 0;
    int found, more = 1;
    text line = {0};
    while (more && (found = next_line(file, RECORD_MOST_BYTES, &line)) != LINE_END) {
        size_t mark = ++number == 1 ? byte_order_mark(line.bytes, line.length) : 0;
        if (mark > 0) {
            line.length -= mark;
            memmove(line.bytes, line.bytes + mark, line.length + 1);
        }
        if (found != LINE_READ || !is_blank(&line)) {
            records++;
            self->bytes_read = ftell(file);
            more = submit_line(self, name, number, found, &line);
        }
    }
    text_free(&line);
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

/* Takes a context of a table. Returns 0 to stop. */
static int on_context(void *user, context *built, const char *place, const char *status,
                      const char *message)
{
    run *self = user;
    task *made = task_new(self, place, 0);
    if (made == NULL) {
        return 0;
    }
    made->context = *built;
    memset(built, 0, sizeof *built);
    if (status != NULL) {
        made->status = status;
        text_string(&made->error, message != NULL ? message : "out of memory");
    }
    return queue_submit(self->queue, made);
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

/* What comes in: files of records one after the other, or one table out of all. */
typedef struct inputs {
    table_file *files;
    int count;
    const list *table; /* the option that named them; NULL: files of records */
} inputs;

/* Opens every file before any is read: a misspelt name costs no hour. Returns the exit status. */
static int open_all(run *self, inputs *in, const char *const *names)
{
    struct stat about;
    in->files = memory_calloc((size_t)in->count, sizeof *in->files);
    if (in->files == NULL) {
        fputs("grpoalign: out of memory\n", stderr);
        return 1;
    }
    for (int i = 0; i < in->count; i++) {
        in->files[i].file = open_input(names[i]);
        if (in->files[i].file == NULL) {
            fprintf(stderr, "grpoalign %s: %s: %s\n", self->action->command, names[i],
                    strerror(errno));
            return 2;
        }
        in->files[i].name = in->files[i].file == stdin ? "(standard input)" : names[i];
    }
    if (in->count == 1 && fstat(fileno(in->files[0].file), &about) == 0 && S_ISREG(about.st_mode)) {
        self->bytes_all = about.st_size;
    }
    return 0;
}

static void close_all(inputs *in)
{
    for (int i = 0; in->files != NULL && i < in->count; i++) {
        if (in->files[i].file != NULL && in->files[i].file != stdin) {
            (void)fclose(in->files[i].file);
        }
    }
    free(in->files);
}

/* Waits for what was read and writes what was held back. Returns 0 to stop. */
static int finish_file(run *self, int more)
{
    more = queue_wait(self->queue) && finish_batch(self) && more;
    self->cut_short = self->lost = 0;
    return more;
}

/* Returns the exit status. */
static int read_files(run *self, const char *const *names, int count)
{
    static const char *const standard_input[] = {"-"};
    const run_options *options = &self->options;
    inputs in = {.count = count,
                 .table = options->rollouts.count > 0  ? &options->rollouts
                          : options->battles.count > 0 ? &options->battles
                                                       : NULL};
    const table_source source = {.battles = in.table == &options->battles,
                                 .wanted = &options->columns,
                                 .defaults = &options->settings,
                                 .sink = on_context,
                                 .user = self};
    if (in.table != NULL) {
        names = in.table->items;
        in.count = (int)in.table->count;
    } else if (count == 0) {
        names = standard_input;
        in.count = 1;
    }
    int status = open_all(self, &in, names);
    if (status == 0 && in.table != NULL) {
        (void)finish_file(self, read_table(in.files, in.count, &source));
    }
    for (int i = 0, more = in.table == NULL; status == 0 && more && i < in.count; i++) {
        more = finish_file(self, read_records(self, in.files[i].file, in.files[i].name));
    }
    close_all(&in);
    return status;
}

/* ---- a command ------------------------------------------------------------------------------- */

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

/* Has the command check its options, and writes what comes first. Returns the exit status. */
static int begin(run *self)
{
    const action *what = self->action;
    text before = {0}, wrong = {0};
    int status = 0;
    const long refused = memory_refused();
    if (what->begin != NULL && !what->begin(what->user, self->style.format, &before, &wrong)) {
        status = usage_error(what, "%s", wrong.bytes != NULL ? wrong.bytes : "out of memory");
    } else if (memory_refused() != refused) {
        status = 1; /* a header in part is worse than none; main says why */
    } else {
        (void)put(self, &before);
    }
    self->style.columns = 1;
    for (size_t i = 0; i < before.length; i++) {
        self->style.columns += before.bytes[i] == ',';
    }
    text_free(&before);
    text_free(&wrong);
    return status;
}

/* Lets the command do what comes last. */
static void finish(run *self)
{
    const action *what = self->action;
    text wrong = {0};
    if (what->finish != NULL && !what->finish(what->user, !self->stopped, &wrong)) {
        fprintf(stderr, "grpoalign %s: %s\n", what->command,
                wrong.bytes != NULL ? wrong.bytes : "out of memory");
        self->bad = 1;
    }
    text_free(&wrong);
}

/* Reads, acts and writes. Returns the exit status. */
static int act_on_all(run *self, const char *const *names, int count)
{
    quiet_blas();
    self->queue = queue_new((int)self->options.threads, do_task, on_done, task_free, self);
    if (self->queue == NULL) {
        fputs("grpoalign: out of memory\n", stderr);
        return 1;
    }
    int status = read_files(self, names, count);
    (void)queue_finish(self->queue);
    batch_free(&self->batch);
    if (self->options.progress) {
        fputs("\n", stderr);
    }
    return status;
}

/* The command after its options. Returns the exit status. */
static int work(run *self, const char *const *names, int count)
{
    output_guard();
    int status = begin(self);
    if (status == 0 && !self->stopped) {
        status = act_on_all(self, names, count);
    }
    if (status == 0) {
        finish(self);
    }
    return status != 0 ? status : self->bad;
}

int run_contexts(const action *what, int argc, char **argv)
{
    run self = {.action = what, .bytes_read = -1};
    int over = options_read(&self.options, what, argc, argv);
    self.style.format = self.options.format.format;
    int status =
        over != 0 ? over - 1 : work(&self, (const char *const *)(argv + optind), argc - optind);
    options_free(&self.options);
    return status;
}
