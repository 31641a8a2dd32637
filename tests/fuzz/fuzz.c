#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned take_byte(bytes *self)
{
    if (self->left == 0) {
        return 0;
    }
    self->left--;
    return *self->next++;
}

unsigned take_below(bytes *self, unsigned n)
{
    return take_byte(self) % n;
}

double take_bits(bytes *self)
{
    uint64_t bits = 0;
    double value;
    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | take_byte(self);
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

double take_number(bytes *self)
{
    unsigned kind = take_byte(self), digits = take_byte(self);
    double sign = kind & 128 ? -1.0 : 1.0;
    switch (kind % 8) {
    case 0:
        return sign * (double)(digits % 8);
    case 1:
        return sign * (double)digits / 256.0;
    case 2: /* neighbours, 1e-12 or so apart */
        return sign * (double)(digits % 4) + 1e-12 * (double)(digits / 4);
    case 3:
        return sign * pow(10.0, ((double)digits - 128.0) / 16.0);
    case 4:
        return sign * pow(10.0, ((double)digits - 128.0) * 2.4);
    case 5:
        return sign * nextafter((double)(digits % 4), 2.0);
    case 6:
        return sign * (double)(digits * 256 + take_byte(self)) / 65536.0;
    default:
        return digits < 32 ? take_bits(self) : sign * (double)digits;
    }
}

void promise(int holds, const char *what, const char *more)
{
    if (!holds) {
        (void)fprintf(stderr, "a promise is broken: %s: %s\n", what, more);
        abort();
    }
}
