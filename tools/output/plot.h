/* Plots for papers, drawn by gnuplot. */
#ifndef GPA_PLOT_H
#define GPA_PLOT_H

#include "base/list.h"
#include "base/text.h"

/* Lines through points: solid where stable, dashed where not. */
enum { PLOT_UNSTABLE = 0, PLOT_STABLE = 1 };

typedef struct plot_point {
    double x, y;
    int style;
} plot_point;

typedef struct plot_series {
    char *name;
    list points;   /* of plot_point */
    size_t cursor; /* for whoever fills the series */
} plot_series;

typedef struct plot {
    const char *x_label; /* gnuplot's enhanced text, as the other is */
    text y_label;
    int log_x, log_y, markers; /* markers: points are drawn as well */
    int plain_names;           /* names of series are users' text, not gnuplot's */
    list series;               /* of plot_series */
    int short_memory;
} plot;

/* The series of a name, made when there is none. NULL on short memory. */
plot_series *plot_find(plot *self, const char *name);

/* Adds a point; one with a y that is not finite breaks the line. */
void plot_add(plot *self, plot_series *series, double x, double y, int style);

/* Whether a file could be written, before the work that it takes to fill it. Returns 0 with a
 * reason. */
int plot_check(const char *file, text *wrong);

/* Writes the plot to a file, whose name ends in .svg. Returns 0 with a reason; the file is then as
 * it was before. A plot without a visible point is not written. */
int plot_write(const plot *self, const char *file, text *wrong);

/* Reads the name of a file that plot_write takes, as a parameter is read. */
int plot_file_read(void *into, const char *value, text *expected);

void plot_free(plot *self);

#endif
