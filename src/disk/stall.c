/* A drive that does not answer: it is waited for, because it may come back, but not in silence. */
#include "disk/backend.h"

/* Takes finished reads like the backend's pull, and waits until there are some. */
size_t disk_pull_patiently(Disk *d, uint32_t *numbers, size_t max) {
    uint64_t start = os_now_ns();
    for (;;) {
        uint64_t waited = os_now_ns() - start;
        size_t n = d->backend->pull(d, numbers, max, d->patience_ns > waited ? d->patience_ns - waited : 1);
        waited = os_now_ns() - start;
        if (n > 0) return n;
        if (waited < d->patience_ns) continue; /* a signal */
        const DiskFile *f = d->backend->oldest(d);
        if (f) log_warn("%s: the drive has not answered for %.3g s; waiting on", f->path, (double)waited / 1e9);
        d->patience_ns *= 8; /* one stall, one sentence; a drive that stalls often need not be heard of each time */
        d->stalls++;
    }
}
