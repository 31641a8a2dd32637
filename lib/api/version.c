#include <grpoalign/version.h>

#include "linalg/linalg.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

int32_t grpoalign_version(void)
{
    return GRPOALIGN_VERSION_MAJOR * 1000000 + GRPOALIGN_VERSION_MINOR * 1000 +
           GRPOALIGN_VERSION_PATCH;
}

const char *grpoalign_version_string(void)
{
    return TEXT(GRPOALIGN_VERSION_MAJOR) "." TEXT(GRPOALIGN_VERSION_MINOR) "." TEXT(
        GRPOALIGN_VERSION_PATCH);
}

const char *grpoalign_build_info(void)
{
    return gra_linalg_description();
}
