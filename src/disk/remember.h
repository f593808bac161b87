/* Private to the disk room: what was measured of file systems, kept in a small file of the state folder. */
#ifndef DISK_REMEMBER_H
#define DISK_REMEMBER_H

#include "disk/disk.h"

enum { REMEMBER_KEY_BYTES = 512, REMEMBER_RATES_MAX = 8, REMEMBER_DAYS = 30 };

/* What the rates depend on: the file system, the kernel, the size class of the reads. False: the file cannot be examined. */
bool disk_remember_key(const char *path, uint32_t read_bytes, char key[REMEMBER_KEY_BYTES]);
/* rates [n], in bytes per second, 0: that name is not there. False: nothing is known, or it is too old. A damaged file is said once. */
bool disk_remember_get(const char *state_dir, const char *key, const char *const *names, size_t n, double *rates, int64_t *when);
/* Replaces what is known of this key; rates of 0 are left out. Returns whether it was kept, and says so where it was not. */
bool disk_remember_put(const char *state_dir, const char *key, const char *const *names, size_t n, const double *rates);

#endif
