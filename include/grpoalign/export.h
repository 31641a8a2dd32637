/* Visibility and language glue; include this from every public header. */
#ifndef GRPOALIGN_EXPORT_H
#define GRPOALIGN_EXPORT_H

#if defined(GRPOALIGN_BUILDING) && defined(__GNUC__)
#define GRPOALIGN_API __attribute__((visibility("default")))
#else
#define GRPOALIGN_API
#endif

#if defined(__GNUC__)
#define GRPOALIGN_NODISCARD __attribute__((warn_unused_result))
#else
#define GRPOALIGN_NODISCARD
#endif

#ifdef __cplusplus
#define GRPOALIGN_BEGIN extern "C" {
#define GRPOALIGN_END   }
#else
#define GRPOALIGN_BEGIN
#define GRPOALIGN_END
#endif

#endif
