#define _GNU_SOURCE
#include "support/pattern_file.h"

#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>

/* The byte at offset i of every test file; no period that a block size divides. */
static uint8_t pattern(uint64_t i) {
    uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint8_t)(x >> 40);
}

const char *write_pattern(const char *folder, const char *name, size_t bytes) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++) fputc(pattern(i), f);
    assert_int_equal(fclose(f), 0);
    return path;
}

Disk *open_disk(const DiskConfig *config, const char *path) {
    Err err = {0};
    Disk *d = disk_new(config, &err);
    if (!d) fail_msg("%s", err.text);
    uint32_t id;
    if (disk_add_file(d, path, &id, &err)) fail_msg("%s", err.text);
    assert_int_equal(id, 0);
    return d;
}

char *new_buffer(void) {
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64 * 1024, PATTERN_BUFFER_BYTES), 0);
    return p;
}

DiskRead widened(const Disk *d, uint64_t offset, uint32_t need, char *dst, uint64_t tag) {
    uint32_t a = disk_alignment(d, 0);
    uint64_t start = align_down(offset, a);
    DiskRead r = {.offset = start, .need = (uint32_t)(offset - start) + need, .dst = dst, .tag = tag};
    r.bytes = (uint32_t)align_up(r.need, a);
    return r;
}

void check_bytes(const char *got, uint64_t offset, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)got[i] != pattern(offset + i)) fail_msg("wrong byte at offset %zu", (size_t)offset + i);
}

DiskDone read_one(Disk *d, const DiskRead *r) {
    Err err = {0};
    DiskDone done;
    if (disk_submit(d, r, 1, &err)) fail_msg("%s", err.text);
    assert_int_equal(disk_in_flight(d), 1);
    assert_int_equal(disk_reap(d, &done, 1, true), 1);
    assert_int_equal(disk_in_flight(d), 0);
    assert_int_equal(done.tag, r->tag);
    assert_int_equal(done.code, done.err.code);
    return done;
}

bool backend_works(DiskBackend backend) {
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = backend}, &err);
    if (!d) {
        assert_int_equal(err.code, ERR_UNSUPPORTED);
        printf("SKIP: backend %d: %s\n", (int)backend, err.text);
    }
    disk_free(d);
    return d != NULL;
}
