/* What the tests of malformed files share: a process in which only small allocations succeed, and the demand that a refusal is
 * one clear sentence. */
#ifndef TESTS_MALFORMED_H
#define TESTS_MALFORMED_H

#include "format/format.h"

/* From here on an allocation of many megabytes fails, so that one made on the word of a tiny file turns into ERR_MEMORY, which
 * no test here accepts; and a test that hangs is ended. Call it first in main, and write MALFORMED_LIMITS before main:
 * AddressSanitizer reserves address space of its own, so there it does the limiting, and asks the program for its options. */
void malformed_limits(void);

#ifdef __SANITIZE_ADDRESS__
#define MALFORMED_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MALFORMED_ASAN
#endif
#endif

#ifdef MALFORMED_ASAN
#define MALFORMED_LIMITS                                                                         \
    const char *__asan_default_options(void);                                                    \
    const char *__asan_default_options(void) { return "max_allocation_size_mb=8:allocator_may_return_null=1"; }
#else
#define MALFORMED_LIMITS
#endif

/* m must be NULL, and err one sentence that names the file and contains the words. Says `label` where that is not so. */
void malformed_refused(const char *label, FormatModel *m, const Err *err, const char *file, const char *words);
/* Opens path and demands the above. */
void malformed_open(const char *label, const char *path, const char *words);

/* Either an error sentence, or a table in which all names are clean and all tensors lie apart inside their files; every value
 * is touched. Closes m. Returns true where it opened. */
bool malformed_or_sound(const char *label, FormatModel *m, const Err *err);

int open_descriptors(void); /* of this process */

#endif
