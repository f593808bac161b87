/* How the engine would read a file: asked of the disk in the same words. */
#include "cli/reading.h"
#include "cli/state.h"

Reading reading_choose(const Options *o, const char *path, uint32_t request_bytes) {
    char state[1024];
    DiskChoose how = {.path = path, .bytes = UINT64_MAX, .read_bytes = request_bytes};
    (void)disk_words(opt_text(o, OPT_IO, NULL), opt_text(o, OPT_DIRECT, NULL), &how, NULL); /* the table of options has the same words */
    if (state_folder(state, sizeof state)) how.state_dir = state;
    DiskChoice choice;
    disk_choose(&how, &choice);
    return (Reading){choice.backend, choice.direct};
}
