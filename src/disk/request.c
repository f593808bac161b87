/* What the result of one attempt means for a read. Pure, and the same for every backend.
 *
 * A short read is continued where it stopped. An attempt that brings nothing new (an error, the end of the file, less than one
 * aligned block) is tried again, at most `retries` times in all; then the read has failed.
 */
#include "disk/backend.h"

#include <errno.h>

/* A direct read can only go on at an aligned place, so a block that arrived in part is asked for again. */
static uint32_t resume_at(const Request *r) { return (uint32_t)align_down(r->got, r->file->alignment); }

Range disk_request_range(const Request *r) {
    uint32_t at = resume_at(r);
    Range range = {r->read.offset + at, r->read.bytes - at, (char *)r->read.dst + at};
    return range;
}

RequestState disk_request_step(Request *r, int64_t result, int retries) {
    if (result == -EINTR) return REQUEST_AGAIN;
    uint32_t at = resume_at(r);
    if (result > (int64_t)(r->read.bytes - at)) result = -EIO; /* more than was asked for: nothing that it says can be relied on */
    if (result > 0) {
        uint64_t got = at + (uint64_t)result;
        if (got > r->got) r->got = (uint32_t)got;
        if (r->got >= r->read.need) return REQUEST_DONE;
    }
    if (resume_at(r) == at) {
        r->error = result < 0 ? (int)-result : 0;
        if (++r->tries > retries) return REQUEST_FAILED;
    }
    r->again++;
    return REQUEST_AGAIN;
}
