/* Until when something may take. */
#ifndef GPA_DEADLINE_H
#define GPA_DEADLINE_H

/* All zeros: for ever. */
typedef struct deadline {
    double at; /* seconds of a clock that nobody sets */
} deadline;

/* That many seconds from now; 0: for ever. */
deadline deadline_in(double seconds);
int deadline_passed(const deadline *self);

#endif
