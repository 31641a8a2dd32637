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
 * the order of submission, on the thread that submits, and returns 0 to stop; release(work)
 * follows. threads >= 1; with 1 no thread is started. */
queue *queue_new(int threads, int (*run)(job *self), int (*done)(void *user, job *finished),
                 void (*release)(void *work), void *user);

/* Hands over work; gives back what is done. Returns 0 when `done` asked to stop or memory is short.
 */
int queue_submit(queue *self, void *work);

/* Waits for everything and gives it back. Returns 0 when `done` asked to stop. */
int queue_wait(queue *self);

/* Waits for everything, gives it back, frees the queue. Returns 0 when `done` asked to stop. */
int queue_finish(queue *self);

#endif
