/* Visibility, language glue and the layout of structs; every public header includes this. */
#ifndef GRPOALIGN_EXPORT_H
#define GRPOALIGN_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#if defined(GRPOALIGN_BUILDING) && (defined(_WIN32) || defined(__CYGWIN__))
#define GRPOALIGN_API __declspec(dllexport)
#elif defined(GRPOALIGN_BUILDING) && defined(__GNUC__)
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

/* What initialisers are made of, in the words of the language at hand. */
#if defined(__cplusplus) && (__cplusplus >= 201103L || defined(_MSC_VER))
#define GRPOALIGN_NULL       nullptr
#define GRPOALIGN_SIZE(type) static_cast<uint32_t>(sizeof(type))
#else
#define GRPOALIGN_NULL       NULL
#define GRPOALIGN_SIZE(type) (uint32_t)sizeof(type)
#endif

/*
 * A pointer in a struct takes 64 bits on every platform, so that each struct has one layout, which
 * a binding can write down once. GRPOALIGN_NO_POINTER is what an initialiser has in its place.
 */
#if UINTPTR_MAX > 0xffffffffu
#define GRPOALIGN_POINTER(type, name) type name
#define GRPOALIGN_NO_POINTER          GRPOALIGN_NULL
#else
#define GRPOALIGN_POINTER(type, name)                                                              \
    type name;                                                                                     \
    uint32_t name##_padding
#define GRPOALIGN_NO_POINTER GRPOALIGN_NULL, 0
#endif

#endif
