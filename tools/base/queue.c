#include "base/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

typedef struct slot {
    job job;
    int finished;
} slot;

struct queue {
    int (*run)(job *self);
    int (*done)(void *user, job *finished);
    void (*release)(void *work);
    void *user;
    int threads, started, stopped, closing;
    int giving;                           /* somebody is giving jobs back */
    slot *slots;                          /* a ring */
    size_t room, submitted, taken, given; /* counts since the start */
    pthread_t *workers;
    pthread_mutex_t lock;
    pthread_cond_t work_there, given_back;
};

/* Hands a finished job to the host, unless it has asked to stop, and frees what is left of it.
 * Returns 0 to stop. */
static int give(const queue *self, job *finished, int stopped)
{
    int more = !stopped && self->done(self->user, finished);
    if (finished->work != NULL) {
        self->release(finished->work);
    }
    text_free(&finished->output);
    text_free(&finished->aside);
    return more;
}

/* Gives back what is finished, in order. The lock is held, but for the giving itself: one thread
 * does that, and whoever finishes a job meanwhile leaves it to it. */
static void give_back(queue *self)
{
    while (!self->giving && self->given < self->submitted &&
           self->slots[self->given % self->room].finished) {
        slot *next = &self->slots[self->given % self->room];
        int stopped = self->stopped;
        self->giving = 1;
        pthread_mutex_unlock(&self->lock);
        stopped = !give(self, &next->job, stopped);
        pthread_mutex_lock(&self->lock);
        memset(next, 0, sizeof *next);
        self->given++;
        self->stopped = stopped;
        self->giving = 0;
        pthread_cond_signal(&self->given_back);
    }
}

static void *worker(void *user)
{
    queue *self = user;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (self->taken == self->submitted && !self->closing) {
            pthread_cond_wait(&self->work_there, &self->lock);
        }
        if (self->taken == self->submitted) {
            break;
        }
        slot *mine = &self->slots[self->taken++ % self->room];
        pthread_mutex_unlock(&self->lock);
        mine->job.solved = self->run(&mine->job);
        pthread_mutex_lock(&self->lock);
        mine->finished = 1;
        give_back(self);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

queue *queue_new(int threads, int (*run)(job *self), int (*done)(void *user, job *finished),
                 void (*release)(void *work), void *user)
{
    queue *self = memory_calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->run = run;
    self->done = done;
    self->release = release;
    self->user = user;
    self->threads = threads;
    self->room = threads > 1 ? 4 * (size_t)threads : 1;
    self->slots = memory_calloc(self->room, sizeof *self->slots);
    self->workers = memory_calloc((size_t)threads, sizeof *self->workers);
    if (self->slots == NULL || self->workers == NULL) {
        free(self->slots);
        free(self->workers);
        free(self);
        return NULL;
    }
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->work_there, NULL);
    pthread_cond_init(&self->given_back, NULL);
    while (threads > 1 && self->started < threads &&
           pthread_create(&self->workers[self->started], NULL, worker, self) == 0) {
        self->started++;
    }
    return self;
}

/* Waits until at most `left` jobs are out; with the lock held. */
static void wait_for(queue *self, size_t left)
{
    while (self->submitted - self->given > left) {
        pthread_cond_wait(&self->given_back, &self->lock);
    }
}

int queue_submit(queue *self, void *work)
{
    if (self->started == 0) {
        job alone;
        memset(&alone, 0, sizeof alone);
        alone.work = work;
        alone.solved = self->run(&alone);
        self->stopped = !give(self, &alone, self->stopped);
        return !self->stopped;
    }
    pthread_mutex_lock(&self->lock);
    wait_for(self, self->room - 1);
    self->slots[self->submitted % self->room].job.work = work;
    self->submitted++;
    pthread_cond_signal(&self->work_there);
    int more = !self->stopped;
    pthread_mutex_unlock(&self->lock);
    return more;
}

int queue_wait(queue *self)
{
    pthread_mutex_lock(&self->lock);
    wait_for(self, 0);
    int more = !self->stopped;
    pthread_mutex_unlock(&self->lock);
    return more;
}

int queue_finish(queue *self)
{
    int more = queue_wait(self);
    pthread_mutex_lock(&self->lock);
    self->closing = 1;
    pthread_cond_broadcast(&self->work_there);
    pthread_mutex_unlock(&self->lock);
    for (int i = 0; i < self->started; i++) {
        pthread_join(self->workers[i], NULL);
    }
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->work_there);
    pthread_cond_destroy(&self->given_back);
    free(self->slots);
    free(self->workers);
    free(self);
    return more;
}
