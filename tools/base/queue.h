/* Jobs done by several threads and given back in order, with a bounded number under way. */
#ifndef GPA_QUEUE_H
#define GPA_QUEUE_H

#include "base/text.h"

typedef struct job {
    void *work; /* released by the queue unless `done` takes it and leaves NULL */
    text output, aside;
    int solved;
} job;

typedef struct queue queue;

/* run(job) does a job on any thread and returns whether it went well; done(user, job) is called in
 * the order of submission, one at a time and on any thread, as soon as the job and all before it
 * are done, and returns 0 to stop; release(work) follows. threads >= 1; with 1 no thread is
 * started. */
queue *queue_new(int threads, int (*run)(job *self), int (*done)(void *user, job *finished),
                 void (*release)(void *work), void *user);

/* Hands over work; waits while too much is under way. Returns 0 when `done` asked to stop. */
int queue_submit(queue *self, void *work);

/* Waits until everything is given back. Returns 0 when `done` asked to stop. */
int queue_wait(queue *self);

/* The same, and frees the queue. */
int queue_finish(queue *self);

#endif
