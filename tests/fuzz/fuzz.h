/* What the fuzz targets share: bytes read as values, and the end of a run that broke a promise. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* The entry of a target; libFuzzer calls it, or replay.c with the files of a corpus. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes that are used up one after the other; 0 once they are. */
typedef struct bytes {
    const uint8_t *next;
    size_t left;
} bytes;

unsigned take_byte(bytes *self);
unsigned take_below(bytes *self, unsigned n);

/* Any double at all, by its 8 bytes. */
double take_bits(bytes *self);

/* A number that a user might give, of either sign: small whole ones, decimals, neighbours of those,
 * powers of ten to +-300, rarely any bits. */
double take_number(bytes *self);

/* Ends the process with a message when a promise is broken. */
void promise(int holds, const char *what, const char *more);

#endif
