/* A bit per cell of the file: drawn or not. Any thread may draw. */
#define _POSIX_C_SOURCE 200809L
#include "disk/places.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CELL_BYTES = 64 * 1024 };

struct Places {
    Places *next;
    dev_t device;
    ino_t inode;
    uint64_t n_cells;
    uint64_t *drawn; /* [(n_cells + 63) / 64] bits */
};

static Places *all;
static uint64_t random_state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* SplitMix64 from the time and the process: another process draws other places, which a cache beyond this system may not hold. */
static uint64_t next_random(void) {
    if (random_state == 0) random_state = os_now_ns() ^ (uint64_t)getpid() << 40;
    return splitmix(random_state += SPLITMIX_STEP);
}

static Places *find_or_add(const struct stat *st, Err *err) {
    for (Places *p = all; p; p = p->next)
        if (p->device == st->st_dev && p->inode == st->st_ino) return p;
    Places *p = MEM_NEW(Places, 1);
    if (!p) {
        err_no_memory(err, sizeof *p, "the places of a file");
        return NULL;
    }
    p->device = st->st_dev;
    p->inode = st->st_ino;
    p->next = all;
    all = p;
    return p;
}

/* A file that has grown gets bits for what is new. */
static bool fit(Places *p, uint64_t bytes, Err *err) {
    uint64_t n_cells = bytes / CELL_BYTES, old = (p->n_cells + 63) / 64, words = (n_cells + 63) / 64;
    if (words > old) {
        uint64_t *drawn = mem_resize(p->drawn, (size_t)words, sizeof *drawn);
        if (!drawn) {
            err_no_memory(err, words * sizeof *drawn, "the places of a file");
            return false;
        }
        for (uint64_t i = old; i < words; i++) drawn[i] = 0;
        p->drawn = drawn;
    }
    p->n_cells = n_cells;
    return true;
}

Places *disk_places_of(const OsFile *f, Err *err) {
    struct stat st;
    if (fstat(f->fd, &st) != 0) {
        err_set(err, ERR_IO, "a file that is open cannot be examined");
        return NULL;
    }
    pthread_mutex_lock(&lock);
    Places *p = find_or_add(&st, err);
    if (p && !fit(p, f->size, err)) p = NULL;
    pthread_mutex_unlock(&lock);
    return p;
}

static bool is_free(const Places *p, uint64_t from, uint64_t n) {
    for (uint64_t i = from; i < from + n; i++)
        if (p->drawn[i / 64] >> (i % 64) & 1) return false;
    return true;
}

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Cells of one read. */
static uint64_t span_of(uint32_t bytes) { return ((uint64_t)bytes + CELL_BYTES - 1) / CELL_BYTES; }

bool disk_places_hold(Places *p, uint32_t bytes) {
    pthread_mutex_lock(&lock);
    bool holds = p->n_cells >= span_of(bytes);
    pthread_mutex_unlock(&lock);
    return holds;
}

void disk_places_forget(Places *p) {
    pthread_mutex_lock(&lock);
    for (uint64_t i = 0; i < (p->n_cells + 63) / 64; i++) p->drawn[i] = 0;
    pthread_mutex_unlock(&lock);
}

bool disk_places_draw(Places *p, uint32_t bytes, uint64_t *offset) {
    uint64_t span = span_of(bytes), n = p->n_cells / span;
    if (n == 0) return false;
    pthread_mutex_lock(&lock);
    /* From a random place on in random strides: a stride without a common divisor visits every place once, and no drive takes it for
     * reading in order. */
    uint64_t at = next_random() % n, stride = 1 + next_random() % n;
    while (common_divisor(stride, n) != 1) stride = 1 + stride % n;
    bool found = false;
    for (uint64_t i = 0; i < n && !found; i++, at = (at + stride) % n) {
        if (!is_free(p, at * span, span)) continue;
        for (uint64_t c = at * span; c < (at + 1) * span; c++) p->drawn[c / 64] |= UINT64_C(1) << (c % 64);
        *offset = at * span * CELL_BYTES;
        found = true;
    }
    pthread_mutex_unlock(&lock);
    return found;
}
