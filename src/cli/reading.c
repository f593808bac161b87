/* How the engine would read a file: asked of the disk in the same words. */
#include "cli/reading.h"
#include "cli/state.h"

#include <string.h>

Reading reading_choose(const Options *o, const char *path, uint32_t request_bytes) {
    const char *io = opt_text(o, OPT_IO, "auto"), *direct = opt_text(o, OPT_DIRECT, "auto");
    char state[1024];
    DiskChoose how = {.path = path, .bytes = UINT64_MAX, .read_bytes = request_bytes, .any_backend = strcmp(io, "auto") == 0};
    how.backend = strcmp(io, "uring") == 0 ? DISK_URING : strcmp(io, "mmap") == 0 ? DISK_MMAP : DISK_THREADS;
    how.direct = strcmp(direct, "on") == 0 ? DISK_DIRECT_ON : strcmp(direct, "off") == 0 ? DISK_DIRECT_OFF : DISK_DIRECT_AUTO;
    if (state_folder(state, sizeof state)) how.state_dir = state;
    DiskChoice choice;
    disk_choose(&how, &choice);
    return (Reading){choice.backend, choice.direct};
}
