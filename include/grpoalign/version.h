/* The one place where the version and the ABI number are typed; the build reads them from here. */
#ifndef GRPOALIGN_VERSION_H
#define GRPOALIGN_VERSION_H

#include <stdint.h>

#include <grpoalign/export.h>

#define GRPOALIGN_VERSION_MAJOR 0
#define GRPOALIGN_VERSION_MINOR 1
#define GRPOALIGN_VERSION_PATCH 0

/* The SONAME. Independent of the version above; 0 means that the ABI may still move. */
#define GRPOALIGN_ABI 0

GRPOALIGN_BEGIN

/**
 * The version of the library that is running, as major * 1000000 + minor * 1000 + patch.
 * Safe from any thread.
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
