/* Private to os: numbers in the small text files of /proc and /sys, and the control groups that hold this process. Every path begins
 * with a prefix: "" is this machine, a test's folder another one. */
#ifndef OS_PROC_H
#define OS_PROC_H

#include "os/os.h"

/* The first unsigned number after `key` at the beginning of a line; false when absent or "max". */
bool os_proc_number_in_text(const char *text, const char *key, uint64_t *value);
bool os_proc_number(const char *path, const char *key, uint64_t *value); /* the same in a file of at most 8 KiB */

/* Calls visit for the control group of this process and for each of its ancestors up to the root, inner ones first; any of them may be
 * the tightest. controller: which of version 1's hierarchies, "memory" or "cpu". */
typedef void ProcVisit(void *user, const char *dir, bool v2);
void os_proc_groups(const char *prefix, const char *controller, ProcVisit *visit, void *user);

#endif
