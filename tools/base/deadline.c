#include "base/deadline.h"

#include <time.h>

static double now(void)
{
    struct timespec time = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

deadline deadline_in(double seconds)
{
    return (deadline){seconds > 0.0 ? now() + seconds : 0.0};
}

int deadline_passed(const deadline *self)
{
    return self->at > 0.0 && now() > self->at;
}
