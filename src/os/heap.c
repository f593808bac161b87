/* The C library's heap in a program of many threads that come and go. */
#include "os/os.h"

#if defined(__GLIBC__)
#include <malloc.h>

/* glibc gives each thread an arena of its own, up to eight for each core, and what was freed in one is of no use to the others. */
void os_heap_share(void) {
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 128 << 10); /* what is large goes back when it is freed; a fixed threshold stays where it is */
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 10);
}

void os_heap_trim(void) { (void)malloc_trim(64 << 10); }
#else
void os_heap_share(void) {}
void os_heap_trim(void) {}
#endif
