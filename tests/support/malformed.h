/* What the tests of malformed files share: a process in which only small allocations succeed, and the demand that a refusal is
 * one clear sentence. */
#ifndef TESTS_MALFORMED_H
#define TESTS_MALFORMED_H

#include "format/format.h"

/* From here on an allocation of many megabytes fails, so that one made on the word of a tiny file turns into ERR_MEMORY, which
 * no test here accepts; and a test that hangs is ended. Call it first in main. */
void malformed_limits(void);

/* m must be NULL, and err one sentence that names the file and contains the words. Says `label` where that is not so. */
void malformed_refused(const char *label, FormatModel *m, const Err *err, const char *file, const char *words);
/* Opens path and demands the above. */
void malformed_open(const char *label, const char *path, const char *words);

/* Either an error sentence, or a table in which all names are clean and all tensors lie apart inside their files; every value
 * is touched. Closes m. Returns true where it opened. */
bool malformed_or_sound(const char *label, FormatModel *m, const Err *err);

int open_descriptors(void); /* of this process */

#endif
