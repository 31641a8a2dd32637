#include "base/queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

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
    slot *slots;                          /* a ring */
    size_t room, submitted, taken, given; /* counts since the start */
    pthread_t *workers;
    pthread_mutex_t lock;
    pthread_cond_t work_there, work_done;
};

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
        pthread_cond_signal(&self->work_done);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

queue *queue_new(int threads, int (*run)(job *self), int (*done)(void *user, job *finished),
                 void (*release)(void *work), void *user)
{
    queue *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->run = run;
    self->done = done;
    self->release = release;
    self->user = user;
    self->threads = threads;
    self->room = threads > 1 ? 4 * (size_t)threads : 1;
    self->slots = calloc(self->room, sizeof *self->slots);
    self->workers = calloc((size_t)threads, sizeof *self->workers);
    if (self->slots == NULL || self->workers == NULL) {
        free(self->slots);
        free(self->workers);
        free(self);
        return NULL;
    }
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->work_there, NULL);
    pthread_cond_init(&self->work_done, NULL);
    while (threads > 1 && self->started < threads &&
           pthread_create(&self->workers[self->started], NULL, worker, self) == 0) {
        self->started++;
    }
    return self;
}

/* Hands a finished job to the host and frees what is left of it. */
static void give(queue *self, job *finished)
{
    if (!self->stopped && !self->done(self->user, finished)) {
        self->stopped = 1;
    }
    if (finished->work != NULL) {
        self->release(finished->work);
    }
    text_free(&finished->output);
    text_free(&finished->aside);
}

/* Gives back finished jobs in order; waits until at most `left` are out. */
static void give_back(queue *self, size_t left)
{
    pthread_mutex_lock(&self->lock);
    while (self->submitted - self->given > left ||
           (self->submitted > self->given && self->slots[self->given % self->room].finished)) {
        slot *next = &self->slots[self->given % self->room];
        while (!next->finished) {
            pthread_cond_wait(&self->work_done, &self->lock);
        }
        pthread_mutex_unlock(&self->lock);
        give(self, &next->job);
        memset(next, 0, sizeof *next);
        pthread_mutex_lock(&self->lock);
        self->given++;
    }
    pthread_mutex_unlock(&self->lock);
}

int queue_submit(queue *self, void *work)
{
    if (self->started == 0) {
        job alone;
        memset(&alone, 0, sizeof alone);
        alone.work = work;
        alone.solved = self->run(&alone);
        give(self, &alone);
        return !self->stopped;
    }
    give_back(self, self->room - 1);
    pthread_mutex_lock(&self->lock);
    self->slots[self->submitted % self->room].job.work = work;
    self->submitted++;
    pthread_cond_signal(&self->work_there);
    pthread_mutex_unlock(&self->lock);
    return !self->stopped;
}

int queue_wait(queue *self)
{
    give_back(self, 0);
    return !self->stopped;
}

int queue_finish(queue *self)
{
    give_back(self, 0);
    pthread_mutex_lock(&self->lock);
    self->closing = 1;
    pthread_cond_broadcast(&self->work_there);
    pthread_mutex_unlock(&self->lock);
    for (int i = 0; i < self->started; i++) {
        pthread_join(self->workers[i], NULL);
    }
    pthread_mutex_destroy(&self->lock);
    pthread_cond_destroy(&self->work_there);
    pthread_cond_destroy(&self->work_done);
    int went_on = !self->stopped;
    free(self->slots);
    free(self->workers);
    free(self);
    return went_on;
}
