#include "base/output.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static const int ENDINGS[] = {SIGINT, SIGTERM, SIGHUP};
enum { ENDING_COUNT = sizeof ENDINGS / sizeof *ENDINGS };

static pthread_mutex_t at_work = PTHREAD_MUTEX_INITIALIZER;
static const char *to_remove; /* guarded by at_work */
static sem_t told;
static volatile sig_atomic_t by; /* the signal */

static void on_signal(int number)
{
    by = number;
    (void)sem_post(&told);
}

/* Waits for a signal, and ends the program by it. A reader that does not read may hold up a piece
 * for ever: then it is cut. */
static void *end_when_told(void *nothing)
{
    struct timespec patience;
    (void)nothing;
    while (sem_wait(&told) != 0) {
    }
    (void)clock_gettime(CLOCK_REALTIME, &patience);
    patience.tv_sec += 1;
    (void)pthread_mutex_timedlock(&at_work, &patience);
    if (to_remove != NULL) {
        (void)unlink(to_remove);
    }
    (void)signal(by, SIG_DFL);
    (void)raise(by);
    return NULL;
}

void output_guard(void)
{
    pthread_t watcher;
    if (sem_init(&told, 0, 0) != 0 || pthread_create(&watcher, NULL, end_when_told, NULL) != 0) {
        return; /* signals then end the program at once */
    }
    (void)pthread_detach(watcher);
    for (int k = 0; k < ENDING_COUNT; k++) {
        struct sigaction before, now = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        (void)sigemptyset(&now.sa_mask);
        if (sigaction(ENDINGS[k], NULL, &before) == 0 && before.sa_handler == SIG_DFL) {
            (void)sigaction(ENDINGS[k], &now, NULL);
        }
    }
}

void output_hold(void)
{
    (void)pthread_mutex_lock(&at_work);
}

void output_release(const char *half_made)
{
    to_remove = half_made;
    (void)pthread_mutex_unlock(&at_work);
}

int output_write(const char *bytes, size_t length)
{
    ssize_t written = 0;
    output_hold();
    while (length > 0 && ((written = write(STDOUT_FILENO, bytes, length)) >= 0 || errno == EINTR)) {
        bytes += written > 0 ? written : 0;
        length -= written > 0 ? (size_t)written : 0;
    }
    output_release(to_remove);
    return length == 0;
}
