/* The mmap backend: files are mapped and a read is a copy out of the mapping, by the threads of the thread backend. It is there to be
 * compared with: every page comes by a fault of its own.
 *
 * The kernel does the copying (process_vm_readv on ourselves): where it meets a page that cannot be had, because the file was cut off
 * or the drive failed, it stops and says so, while a memcpy would be ended by SIGBUS, and the process with it.
 */
#define _GNU_SOURCE
#include "disk/backend.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t copy(void *dst, const void *src, size_t bytes) {
    struct iovec to = {dst, bytes}, from = {(void *)(uintptr_t)src, bytes};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0);
}

ErrCode disk_mmap_start(Disk *d, Err *err) {
    char a = 0, b = 1;
    if (copy(&a, &b, 1) != 1)
        return err_set(err, ERR_UNSUPPORTED, "mmap cannot be used here: the kernel refuses process_vm_readv: %s; a container may block it: "
                       "use --io threads, which needs nothing", strerror(errno));
    return disk_backend_threads.start(d, err);
}

ErrCode disk_mmap_opened(Disk *d, DiskFile *file, Err *err) {
    (void)d;
    if (file->os.size == 0) return ERR_OK;
    void *map = file->os.size <= SIZE_MAX ? mmap(NULL, (size_t)file->os.size, PROT_READ, MAP_SHARED, file->os.fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED)
        return err_set(err, ERR_IO, "%s: cannot be mapped: %s; use --io threads", file->path, strerror(errno));
    (void)madvise(map, (size_t)file->os.size, MADV_RANDOM); /* as with the other backends: nobody wants the neighbours */
    file->map = map;
    return ERR_OK;
}

void disk_mmap_closed(DiskFile *file) {
    if (file->map) munmap(file->map, (size_t)file->os.size);
    file->map = NULL;
}

/* Pages that were looked at count as memory of this process: it has its copy, so they go, from here but not from the page cache. */
static void let_go(const char *from, size_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)from & ~(page - 1);
    (void)madvise((void *)start, bytes + ((uintptr_t)from - start), MADV_DONTNEED);
}

int64_t disk_read_mmap(const Disk *d, const Request *r) {
    (void)d;
    const DiskFile *f = r->file;
    Range range = disk_request_range(r);
    if (range.offset >= f->os.size) return 0;
    size_t bytes = range.bytes < f->os.size - range.offset ? range.bytes : (size_t)(f->os.size - range.offset);
    const char *from = f->map + range.offset;
    ssize_t got = copy(range.dst, from, bytes);
    int failure = got < 0 ? errno : 0;
    let_go(from, bytes);
    /* Behind the end of a file that was cut off, its last page is zeros: only what is still within the file was read. */
    struct stat st;
    if (fstat(f->os.fd, &st) != 0) return -errno;
    uint64_t end = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : f->os.size;
    if (range.offset >= end) return 0;
    if (failure) return failure == EFAULT ? -EIO : -failure;
    return (uint64_t)got < end - range.offset ? got : (int64_t)(end - range.offset);
}
