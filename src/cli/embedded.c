/* Finds the embedded model in the program's own file. A section that is loaded has a place in memory (the symbol) and a program
 * header that says which bytes of the file lie there; the difference gives the offset. Survives strip, which removes names only. */
#define _GNU_SOURCE /* dl_iterate_phdr */
#include "cli/source.h"

#include <link.h>

extern const unsigned char sluice_embedded_begin[], sluice_embedded_end[];

typedef struct Search {
    uintptr_t address;
    uint64_t offset;
    bool found;
} Search;

static int visit(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size;
    Search *search = user;
    for (int i = 0; i < info->dlpi_phnum && !search->found; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t begin = (uintptr_t)(info->dlpi_addr + h->p_vaddr);
        if (h->p_type != PT_LOAD || search->address < begin || search->address - begin >= h->p_filesz) continue;
        search->offset = (uint64_t)h->p_offset + (search->address - begin);
        search->found = true;
    }
    return search->found;
}

ErrCode embedded_locate(uint64_t *offset, uint64_t *bytes, Err *err) {
    Search search = {(uintptr_t)sluice_embedded_begin, 0, false};
    dl_iterate_phdr(visit, &search);
    if (!search.found)
        return err_set(err, ERR_FORMAT, "the model inside this program cannot be found in its own file; name a model with -m");
    *offset = search.offset;
    *bytes = (uint64_t)((uintptr_t)sluice_embedded_end - (uintptr_t)sluice_embedded_begin);
    return ERR_OK;
}
