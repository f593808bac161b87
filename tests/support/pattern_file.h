/* Files whose every byte tells where it belongs, and reads of them: what the tests of the disk room share. */
#ifndef TEST_PATTERN_FILE_H
#define TEST_PATTERN_FILE_H

#include "disk/disk.h"

enum { PATTERN_FILE_BYTES = 300 * 1024 + 77, PATTERN_BUFFER_BYTES = 1 << 20 };

/* Writes folder/name; the path stays valid until the next call. */
const char *write_pattern(const char *folder, const char *name, size_t bytes);
/* A disk with this one file, id 0; fails the test where it cannot be had. */
Disk *open_disk(const DiskConfig *config, const char *path);
/* PATTERN_BUFFER_BYTES, aligned to 64 KiB; free() it. */
char *new_buffer(void);
/* A read of `need` bytes of file 0 at any offset, widened to the alignment; its bytes begin at dst + offset % alignment. */
DiskRead widened(const Disk *d, uint64_t offset, uint32_t need, char *dst, uint64_t tag);
/* Fails the test where got[0..n) are not the bytes at `offset` of a pattern file. */
void check_bytes(const char *got, uint64_t offset, size_t n);
/* Submits one read, waits for it, and checks what must always hold. */
DiskDone read_one(Disk *d, const DiskRead *r);
/* io_uring may be blocked where the tests run; then only its refusal can be tested, and the rest says so. */
bool backend_works(DiskBackend backend);

#endif
