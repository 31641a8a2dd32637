#ifndef GRA_BASE_ACCURACY_H
#define GRA_BASE_ACCURACY_H

/* How much accuracy is needed: to rounding, or about four digits for Newton directions and for
 * points on the way. */
enum { GRA_EXACT = 0, GRA_COARSE = 1 };

#endif
