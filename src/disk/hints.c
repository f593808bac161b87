/* The hints that are on their way: how many there may be, taking them back, making demands of them.
 *
 * A list of their own, because the table is large and a caller looks for a few by their tag at every layer.
 */
#include "disk/backend.h"

#include <assert.h>

void disk_hints_add(Disk *d, uint32_t number) {
    assert(d->n_hints < DISK_HINTS);
    d->requests[number].hint_at = d->n_hints;
    d->hints[d->n_hints++] = number;
}

void disk_hints_remove(Disk *d, uint32_t number) {
    uint32_t at = d->requests[number].hint_at;
    assert(at < d->n_hints && d->hints[at] == number);
    uint32_t last = d->hints[--d->n_hints];
    d->hints[at] = last;
    d->requests[last].hint_at = at;
}

static size_t with_tag(const Disk *d, uint64_t tag, uint32_t found[DISK_HINTS]) {
    size_t n = 0;
    for (uint32_t i = 0; i < d->n_hints; i++)
        if (d->requests[d->hints[i]].read.tag == tag) found[n++] = d->hints[i];
    return n;
}

size_t disk_cancel(Disk *d, uint64_t tag) {
    uint32_t numbers[DISK_HINTS];
    size_t n = with_tag(d, tag, numbers);
    if (n > 0) n = d->backend->cancel(d, numbers, n);
    for (size_t i = 0; i < n; i++) {
        disk_hints_remove(d, numbers[i]);
        disk_drive_forgets(d, &d->requests[numbers[i]]);
        d->requests[numbers[i]].place = REQUEST_FREE;
        d->free_numbers[d->n_free++] = numbers[i];
    }
    d->cancelled += n;
    return n;
}

void disk_promote(Disk *d, uint64_t tag) {
    uint32_t numbers[DISK_HINTS];
    size_t n = with_tag(d, tag, numbers);
    if (n == 0) return;
    d->backend->promote(d, numbers, n);
    for (size_t i = 0; i < n; i++)
        if (d->requests[numbers[i]].read.urgency == DISK_DEMAND) disk_hints_remove(d, numbers[i]); /* else it had landed as a hint */
}

size_t disk_hint_room(const Disk *d) {
    size_t room = DISK_HINTS - d->n_hints;
    return room < d->n_free ? room : d->n_free;
}
