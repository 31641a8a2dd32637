/* The one place where the version and the ABI number are typed; the build reads them from here. */
#ifndef GRPOALIGN_VERSION_H
#define GRPOALIGN_VERSION_H

#include <grpoalign/export.h>

#define GRPOALIGN_VERSION_MAJOR 0
#define GRPOALIGN_VERSION_MINOR 2
#define GRPOALIGN_VERSION_PATCH 0

/* The SONAME. Independent of the version above; it grows with every change that breaks a
 * program. */
#define GRPOALIGN_ABI 1

GRPOALIGN_BEGIN

/**
 * The version of the library that is running, as major * 1000000 + minor * 1000 + patch. A program
 * that compares it with the macros above knows whether it runs with what it was built with:
 *
 * @code
 * int main(void)
 * {
 *     return grpoalign_version() / 1000 == GRPOALIGN_VERSION_MAJOR * 1000 + GRPOALIGN_VERSION_MINOR
 *                ? 0 : 1;
 * }
 * @endcode
 */
GRPOALIGN_API int32_t grpoalign_version(void);

/** The same as text, "major.minor.patch". Static storage. */
GRPOALIGN_API const char *grpoalign_version_string(void);

/**
 * One line on how this library was built: compiler, CBLAS and LAPACKE as pkg-config named them.
 * Static storage. For bug reports; its wording may change at any time.
 */
GRPOALIGN_API const char *grpoalign_build_info(void);

GRPOALIGN_END

#endif
