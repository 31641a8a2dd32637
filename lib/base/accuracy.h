#ifndef GRA_BASE_ACCURACY_H
#define GRA_BASE_ACCURACY_H

/* How much accuracy a Jacobian needs: to rounding, or about four digits for a Newton direction. */
enum { GRA_EXACT = 0, GRA_COARSE = 1 };

#endif
