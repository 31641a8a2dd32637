/* The head of every handle: what type it is of, and how many owners it has. */
#ifndef GRA_BASE_HANDLE_H
#define GRA_BASE_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct gra_handle {
    uint64_t magic; /* the type; a wrong pointer shows here, as far as it can */
    atomic_int_least64_t owners;
} gra_handle;

static inline void gra_handle_start(gra_handle *self, uint64_t magic)
{
    self->magic = magic;
    atomic_init(&self->owners, 1);
}

/* One more owner; the object itself does not change. */
static inline void gra_handle_retain(const gra_handle *self)
{
    (void)atomic_fetch_add_explicit(&((gra_handle *)(uintptr_t)self)->owners, 1,
                                    memory_order_relaxed);
}

/* One owner less; whether it was the last, so that the object is to be freed. */
static inline int gra_handle_release(gra_handle *self)
{
    int last = atomic_fetch_sub_explicit(&self->owners, 1, memory_order_acq_rel) == 1;
    self->magic = last ? 0 : self->magic;
    return last;
}

#endif
