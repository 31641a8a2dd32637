#include "output/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/output.h"

static plot_series *series_at(const plot *self, size_t k)
{
    return (plot_series *)self->series.items + k;
}

plot_series *plot_find(plot *self, const char *name)
{
    for (size_t k = 0; k < self->series.count; k++) {
        if (strcmp(series_at(self, k)->name, name) == 0) {
            return series_at(self, k);
        }
    }
    char *copy = memory_strdup(name);
    plot_series *made = copy != NULL ? list_add(&self->series, sizeof *made) : NULL;
    if (made == NULL) {
        free(copy);
        self->short_memory = 1;
        return NULL;
    }
    made->name = copy;
    return made;
}

void plot_add(plot *self, plot_series *series, double x, double y, int style)
{
    plot_point *made = series != NULL ? list_add(&series->points, sizeof *made) : NULL;
    if (made != NULL) {
        *made = (plot_point){x, y, style};
    } else {
        self->short_memory = 1;
    }
}

int plot_file_read(void *into, const char *value, text *expected)
{
    size_t length = strlen(value);
    text_string(expected, "a file name that ends in .svg");
    *(const char **)into = value;
    return length > 4 && strcmp(value + length - 4, ".svg") == 0;
}

/* Text in gnuplot's single quotes, on one line. */
static void quoted(text *out, const char *value)
{
    text_string(out, "'");
    for (; *value != '\0'; value++) {
        char byte = (unsigned char)*value < 0x20 ? ' ' : *value;
        text_add(out, "'", byte == '\'');
        text_add(out, &byte, 1);
    }
    text_string(out, "'");
}

/* Okabe and Ito's colours, which colour-blind readers can tell apart. */
static const char *const COLOURS[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#000000"};
enum { COLOUR_COUNT = sizeof COLOURS / sizeof *COLOURS };

/* The points of one style as a data block, with gaps where the style is another; a stretch shares
 * its ends with the next. */
static int data_block(text *out, const plot_series *series, size_t k, int style)
{
    int any = 0, open = 0;
    text_format(out, "$s%zu_%d << EOD\n", k, style);
    const plot_point *points = series->points.items;
    for (size_t i = 0; i < series->points.count; i++) {
        const plot_point *p = &points[i];
        int mine = p->style == style, finite = isfinite(p->x) && isfinite(p->y);
        /* The first point after a change of style ends the stretch before it. */
        if (finite && (mine || open)) {
            text_format(out, "%.10g %.10g\n", p->x, p->y);
            any = 1;
        }
        if (open && (!mine || !finite)) {
            text_string(out, "\n");
        }
        open = mine && finite;
    }
    text_string(out, "EOD\n");
    return any;
}

/* Whether a point has a place on the axes. */
static int is_visible(const plot *self, const plot_point *p)
{
    return isfinite(p->x) && isfinite(p->y) && (!self->log_x || p->x > 0.0) &&
           (!self->log_y || p->y > 0.0);
}

/* The extent of the visible points along an axis. Returns 0 when there is none. */
static int extent(const plot *self, int along_y, double *low, double *high)
{
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t k = 0; k < self->series.count; k++) {
        const plot_point *points = series_at(self, k)->points.items;
        for (size_t i = 0; i < series_at(self, k)->points.count; i++) {
            const plot_point *p = &points[i];
            if (is_visible(self, p)) {
                *low = fmin(*low, along_y ? p->y : p->x);
                *high = fmax(*high, along_y ? p->y : p->x);
            }
        }
    }
    return *low <= *high;
}

/* A logarithmic axis: decades, or where there are few of them 1, 2 and 5 of each. */
static void logarithmic(const plot *self, int along_y, text *out)
{
    const char axis = along_y ? 'y' : 'x';
    double low, high;
    text_format(out, "set logscale %c\nset format %c '10^{%%L}'\n", axis, axis);
    if (!extent(self, along_y, &low, &high) || !(low > 0.0) || log10(high / low) > 2.5) {
        return;
    }
    text_format(out, "set format %c '%%g'\nset %ctics (", axis, axis);
    int first = 1;
    for (int decade = (int)floor(log10(low)); decade <= (int)ceil(log10(high)); decade++) {
        static const double marks[] = {1.0, 2.0, 5.0};
        for (int k = 0; k < 3; k++) {
            text_format(out, "%s%g", first ? "" : ", ", marks[k] * pow(10.0, decade));
            first = 0;
        }
    }
    text_string(out, ")\n");
}

/* The data and the command that draws them. */
static void plot_lines(const plot *self, text *out)
{
    text lines = {0};
    int dashed = 0;
    for (size_t k = 0; k < self->series.count; k++) {
        const plot_series *series = series_at(self, k);
        const char *colour = COLOURS[k % COLOUR_COUNT];
        if (data_block(out, series, k, PLOT_STABLE)) {
            text_format(&lines, "%s$s%zu_%d with %s lc '%s' lw 2.5 title ",
                        lines.length > 0 ? ", " : "", k, PLOT_STABLE,
                        self->markers ? "linespoints pt 7 ps 0.5" : "lines", colour);
            quoted(&lines, series->name);
            text_string(&lines, self->plain_names ? " noenhanced" : "");
        }
        if (data_block(out, series, k, PLOT_UNSTABLE)) {
            text_format(&lines, "%s$s%zu_%d with lines lc '%s' lw 2.5 dt 2 notitle",
                        lines.length > 0 ? ", " : "", k, PLOT_UNSTABLE, colour);
            dashed = 1;
        }
    }
    if (dashed) {
        text_string(&lines, ", NaN with lines lc '#555555' lw 2.5 dt 2 title 'unstable'");
    }
    text_format(out, "plot %s\n", lines.bytes != NULL ? lines.bytes : "");
    out->failed = out->failed || lines.failed;
    text_free(&lines);
}

static void script(const plot *self, text *out)
{
    text_string(out,
                "set terminal svg size 900,560 dynamic enhanced font 'Helvetica,16' background "
                "'#ffffff'\nset encoding utf8\nset border 3 lw 1.2\nset tics nomirror out\nset "
                "grid lc '#dddddd' lw 0.8 lt 1\n"
                "set key outside right top Left reverse spacing 1.25 samplen 2.5\nset xlabel ");
    quoted(out, self->x_label);
    text_string(out, "\nset ylabel ");
    quoted(out, self->y_label.bytes != NULL ? self->y_label.bytes : "");
    out->failed = out->failed || self->y_label.failed;
    text_string(out, "\nset autoscale fix\nset offsets graph 0, graph 0, graph 0.04, graph 0.04\n");
    for (int along_y = 0; along_y < 2; along_y++) {
        if (along_y ? self->log_y : self->log_x) {
            logarithmic(self, along_y, out);
        }
    }
    plot_lines(self, out);
}

/* Starts gnuplot with its ends of two files as standard input and output. Returns an error number.
 */
static int start(int input, int output, pid_t *child)
{
    static char name[] = "gnuplot";
    char *const arguments[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    int wrong = posix_spawn_file_actions_init(&actions);
    if (wrong != 0) {
        return wrong;
    }
    wrong = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    wrong = wrong != 0 ? wrong : posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    wrong = wrong != 0 ? wrong : posix_spawnp(child, name, &actions, NULL, arguments, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return wrong;
}

static void write_all(int file, const text *what)
{
    void (*before)(int) = signal(SIGPIPE, SIG_IGN); /* a gnuplot that gives up must not end us */
    size_t done = 0;
    while (done < what->length) {
        ssize_t written = write(file, what->bytes + done, what->length - done);
        if (written < 0 && errno != EINTR) {
            break; /* its exit status tells the rest */
        }
        done += written > 0 ? (size_t)written : 0;
    }
    (void)signal(SIGPIPE, before);
}

/* Runs gnuplot on a script; what it draws goes to an open file, so no name is left to its quoting.
 * Returns 0 with a reason. */
static int draw(const text *commands, int output, text *wrong)
{
    int ends[2], status = -1;
    pid_t child;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        text_format(wrong, "gnuplot could not be started: %s", strerror(errno));
        return 0;
    }
    int failure = start(ends[0], output, &child);
    (void)close(ends[0]);
    if (failure == 0) {
        write_all(ends[1], commands);
    }
    (void)close(ends[1]);
    if (failure == ENOENT) {
        text_string(wrong, "gnuplot draws the plot, and is not installed");
        return 0;
    }
    if (failure != 0) {
        text_format(wrong, "gnuplot could not be started: %s", strerror(failure));
        return 0;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    struct stat about;
    int good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && fstat(output, &about) == 0 &&
               about.st_size > 0;
    if (!good) {
        text_string(wrong, "gnuplot could not draw the plot");
    }
    return good;
}

/* A new file beside the one wanted, with the permissions that one would get. Returns its
 * descriptor, or -1 with a reason. */
static int open_beside(const char *file, text *name, text *wrong)
{
    struct stat about;
    text_format(name, "%s.XXXXXX", file);
    if (name->failed) {
        text_string(wrong, "out of memory for the plot");
        return -1;
    }
    int made = -1;
    if (stat(file, &about) == 0 && S_ISDIR(about.st_mode)) {
        errno = EISDIR;
    } else {
        made = mkostemp(name->bytes, O_CLOEXEC);
    }
    if (made < 0) {
        text_format(wrong, "%s cannot be written: %s", file, strerror(errno));
        return -1;
    }
    mode_t mask = umask(0);
    (void)umask(mask);
    (void)fchmod(made, 0666 & ~mask);
    return made;
}

int plot_check(const char *file, text *wrong)
{
    text name = {0};
    output_hold();
    int made = open_beside(file, &name, wrong);
    if (made >= 0) {
        (void)close(made);
        (void)remove(name.bytes);
    }
    output_release(NULL);
    text_free(&name);
    return made >= 0;
}

int plot_write(const plot *self, const char *file, text *wrong)
{
    text commands = {0}, temporary = {0};
    double low, high;
    int good = 0;
    if (self->short_memory) {
        text_format(wrong, "%s is not written: out of memory", file);
        return 0;
    }
    if (!extent(self, 0, &low, &high)) {
        text_format(wrong, "%s is not written: there was nothing to draw", file);
        return 0;
    }
    script(self, &commands);
    output_hold();
    int made = commands.failed ? -1 : open_beside(file, &temporary, wrong);
    output_release(made >= 0 ? temporary.bytes : NULL);
    int drawn = made >= 0 && draw(&commands, made, wrong);
    output_hold();
    if (commands.failed) {
        text_format(wrong, "%s is not written: out of memory", file);
    } else if (drawn) {
        good = rename(temporary.bytes, file) == 0;
        if (!good) {
            text_format(wrong, "%s cannot be written: %s", file, strerror(errno));
        }
    }
    if (made >= 0) {
        (void)close(made);
        if (!good) {
            (void)remove(temporary.bytes);
        }
    }
    output_release(NULL);
    text_free(&commands);
    text_free(&temporary);
    return good;
}

void plot_free(plot *self)
{
    for (size_t k = 0; k < self->series.count; k++) {
        free(series_at(self, k)->name);
        list_free(&series_at(self, k)->points);
    }
    list_free(&self->series);
    text_free(&self->y_label);
}
