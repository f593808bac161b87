/* os: everything that asks the kernel.
 *
 * What this is    files, pages, memory limits, a thread pool, CPU features, time, other programs, the terminal and Ctrl-C.
 * Who owns what   _open/_close and _new/_free pair; an OsFile is a plain value around a descriptor.
 * What may fail   whatever the kernel may refuse; the sentence names the path and errno's text.
 * Threads         files and pages: any thread. One OsPool runs one job at a time, started by the thread that owns it.
 * Promise         os_pread reads exactly what was asked or fails; nothing falls back in silence.
 *                 Checked by tests/unit/test_os.c and test_os_child.c.
 */
#ifndef OS_OS_H
#define OS_OS_H

#include "base/base.h"

#if defined(__BYTE_ORDER__)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are little-endian, and so must the host be");
#endif

/* ---- files --------------------------------------------------------------------------------------------------------- */

typedef struct OsFile {
    int fd;        /* -1: not open */
    uint64_t size; /* bytes, when it was opened */
} OsFile;

/* Opens for reading; refuses what is not a regular file or block device. direct: O_DIRECT (see disk/). */
ErrCode os_open(OsFile *f, const char *path, bool direct, Err *err);
void os_close(OsFile *f);
/* What the kernel says of the alignment of direct I/O: false where it does not say. *alignment 0: it says that there is none. */
bool os_direct_alignment(const OsFile *f, uint32_t *alignment);
/* Reads exactly `bytes` at `offset` (retrying short reads and EINTR) or fails with path, offset and cause. */
ErrCode os_pread(const OsFile *f, const char *path, void *dst, uint64_t bytes, uint64_t offset, Err *err);
/* Tells the kernel that these bytes of the page cache are not wanted any more (dense weights after loading). */
void os_drop_cache(const OsFile *f, uint64_t offset, uint64_t bytes);
/* How many bytes of these the page cache holds, in whole pages. False: the kernel does not say (the file is somebody else's). */
bool os_cached(const OsFile *f, uint64_t offset, uint64_t bytes, uint64_t *cached);
/* The share of the whole file that the page cache holds, 0..1, from samples; negative: the kernel does not say, or the file is empty. */
double os_cached_share(const OsFile *f);
/* A whole (small) file as bytes; refuses more than max_bytes. */
ErrCode os_read_file(const char *path, uint64_t max_bytes, Buf *out, Err *err);
/* Whether a file can take this place by renaming: there is none yet, or a regular one. A device, a pipe or a link must be written
 * itself; who renames onto the link /dev/stdout takes it from everybody. */
bool os_replaceable(const char *path);
/* Creates a file beside `path` under a name that nothing has yet, to be renamed to path when it is whole. *name: the caller's,
 * freed with mem_free; NULL: path is not replaceable, or "-" for standard output, and *fd is it itself. */
ErrCode os_create_beside(const char *path, char **name, int *fd, Err *err);
/* Writes such a file, syncs, renames: a file that exists is whole. */
ErrCode os_write_file(const char *path, const void *bytes, size_t len, Err *err);
ErrCode os_write_private(const char *path, const void *bytes, size_t len, Err *err); /* the same, for the eyes of its owner alone */
/* A large file that is written from front to back, and may be continued later. No two processes write the same one. */
typedef struct OsOutput {
    int fd;             /* -1: not open */
    uint64_t size;      /* bytes, when it was opened */
    uint64_t allocated; /* of them on disk */
    uint64_t flushed;   /* so far the kernel was asked to write */
} OsOutput;
ErrCode os_output_open(OsOutput *o, const char *path, Err *err); /* creates it, or opens what is there */
void os_output_close(OsOutput *o);
ErrCode os_output_read(const OsOutput *o, const char *path, void *dst, uint64_t bytes, uint64_t offset, Err *err);
ErrCode os_output_write(OsOutput *o, const char *path, const void *bytes, uint64_t len, uint64_t offset, Err *err);
/* Cuts it to `bytes`, syncs, and renames part to path. */
ErrCode os_output_finish(OsOutput *o, const char *part, uint64_t bytes, const char *path, Err *err);
void os_remove(const char *path); /* a file; one that is not there is no mistake */
/* What the file system of this file has left for us. */
ErrCode os_disk_room(const char *path, uint64_t *bytes, Err *err);
/* A file in memory that begins with these bytes and is `total` long, the rest a hole; path: its name for this process. */
ErrCode os_memory_file(const void *bytes, uint64_t len, uint64_t total, char *path, size_t size, int *fd, Err *err);
bool os_is_dir(const char *path);
bool os_exists(const char *path);
/* What a folder holds, in no order, "." and ".." and what goes away meanwhile left out; each returns false to end. */
typedef struct OsEntry {
    const char *name;  /* good during the call */
    bool folder;
    uint64_t bytes;
    int64_t modified;  /* nanoseconds since 1970 */
} OsEntry;
ErrCode os_list(const char *path, bool (*each)(void *user, const OsEntry *entry), void *user, Err *err);
void os_touch(const char *path); /* modified now, where that is possible */
/* A folder for this user alone, and what is missing above it; one that is there stays as it is. */
ErrCode os_make_folder(const char *path, Err *err);

/* All of it to an open file; path: for the error. */
ErrCode os_write_all(int fd, const char *path, const void *bytes, size_t len, Err *err);

/* A folder that names from elsewhere stay below: wherever "..", links and absolute names lead, what they reach lies in it or is refused,
 * and the kernel (openat2) sees to it. Absolute names may begin with the folder's own. */
typedef struct OsFolder {
    int fd;     /* -1: not open */
    char *path; /* without links */
} OsFolder;
ErrCode os_folder_open(OsFolder *f, const char *path, Err *err);
void os_folder_close(OsFolder *f);
/* Regular files only. read: refuses more than max_bytes. write: folders that are missing are made; `made`: there was none yet. */
ErrCode os_folder_read(const OsFolder *f, const char *name, uint64_t max_bytes, Buf *out, Err *err);
ErrCode os_folder_write(const OsFolder *f, const char *name, const void *bytes, size_t len, bool *made, Err *err);
ErrCode os_folder_list(const OsFolder *f, const char *name, bool (*each)(void *user, const OsEntry *entry), void *user, Err *err);

/* ---- other programs ------------------------------------------------------------------------------------------------ */

typedef enum OsChildErr { OS_CHILD_ERR_WITH_OUT, OS_CHILD_ERR_APART, OS_CHILD_ERR_DROPPED, OS_CHILD_ERR_OURS } OsChildErr;
typedef struct OsChildSpec {
    const char *const *argv; /* the last one NULL; argv[0] is looked for in PATH */
    const char *folder;      /* where it runs; NULL: here */
    const char *const *env;  /* NAME=VALUE beside our own, the last one NULL; NULL: none */
    OsChildErr err;          /* where its standard error goes */
} OsChildSpec;
typedef struct OsChild {
    int pid;                 /* 0: none. It leads a session and a group of its own, without a terminal */
    int in, out, err;        /* our ends of its streams, which do not block; -1: closed */
    bool ended;
    int status;              /* when it has ended: its exit code, 128 + the signal that ended it */
} OsChild;
ErrCode os_child_start(OsChild *c, const OsChildSpec *spec, Err *err);
/* Waits until something moves, at most so long: sends of the input what is taken, and tells what is heard. False: it says no more. */
typedef void OsChildHeard(void *user, bool is_err, const char *bytes, size_t len);
bool os_child_move(OsChild *c, Str *input, uint64_t wait_ns, OsChildHeard *heard, void *user);
void os_child_end_input(OsChild *c); /* it sees the end of its input */
bool os_child_ended(OsChild *c);     /* does not wait */
void os_child_end(OsChild *c);       /* kills it and what it has started in its group, and waits for it */

/* ---- facts about the machine --------------------------------------------------------------------------------------- */

/* What a small text file of /proc or /sys says, without the newline at its end; false: absent or empty. root: "" or, for tests, a
 * folder in which such a tree was built. What does not fit is cut off. */
bool os_fact(const char *root, const char *path, char *out, size_t size);
/* The number behind `key` on a line of such a file ("" for the first line); false: absent, or not a number. */
bool os_fact_number(const char *root, const char *path, const char *key, uint64_t *value);
void os_kernel(char out[128]); /* "Linux 6.1.0 x86_64" */

/* Where a file or folder lives. */
typedef struct OsPlace {
    char file_system[32];    /* "ext4", "overlay"; "" where /proc does not tell */
    unsigned major, minor;   /* of the device, as in /sys/dev/block */
    uint64_t total_bytes, free_bytes; /* free: for users */
} OsPlace;
ErrCode os_place(const char *path, OsPlace *place, Err *err);

/* ---- memory -------------------------------------------------------------------------------------------------------- */

/* Anonymous, zeroed, page-aligned memory outside the heap; huge pages are asked for where it is large. NULL + err on refusal. */
void *os_pages_new(uint64_t bytes, Err *err);
void os_pages_free(void *pages, uint64_t bytes);
/* Makes them resident and keeps the kernel from taking them; refused in a sentence with the limit and how to raise it. */
ErrCode os_pages_lock(void *pages, uint64_t bytes, Err *err);
/* Gives the memory of all whole pages in this range back; the range stays ours, and reads as zeros. */
void os_pages_drop(void *from, uint64_t bytes);
/* Whether the kernel may make huge pages of these, where os_pages_new has asked for them; those that are there stay. Where memory was
 * given back it must not: it would fill the holes again. */
void os_pages_may_grow(void *pages, uint64_t bytes, bool may);
/* How many bytes of these pages lie in huge pages; NULL: of the whole process. Walks page tables: for reports, not for every token. */
uint64_t os_huge_bytes(const void *pages, uint64_t bytes);
/* Tests only: the n-th os_pages_new from now (1 = the next) and all later ones fail; 0 switches this off. */
void os_pages_fail_after(uint64_t n);

typedef struct OsMemory {
    uint64_t total;         /* bytes of the machine */
    uint64_t available;     /* MemAvailable: what could be had without swapping */
    uint64_t cgroup_limit;  /* UINT64_MAX: none (v1 and v2, max and high, the tightest of all ancestors) */
    uint64_t cgroup_used;   /* in that same group, page cache that can be dropped not counted */
    uint64_t budget;        /* the least of what all of them leave for a new user of memory, this process's own pages included */
} OsMemory;
void os_memory(OsMemory *m);
/* The same of the machine whose /proc and /sys begin with a prefix: "" is this one, a test makes others. */
void os_memory_of(const char *prefix, OsMemory *m);
/* Whether memory gets short while we run. Reading costs a few small files and no allocation; several times a second is nothing. */
typedef struct OsPressure OsPressure;
typedef struct OsPressureReading {
    uint64_t room;       /* bytes that are left for everybody, all page cache counted as room: what the machine could give, or what the
                            tightest control group leaves */
    uint64_t of;         /* of how much: the machine's memory, or that group's limit */
    uint64_t stalled_us; /* how long some task of our group (none: of the machine) has waited for memory; only grows */
    uint64_t resident;   /* bytes of this process in memory, like os_rss_now */
    uint64_t swapped;    /* and in swap */
    uint64_t swap_left;  /* free swap of the machine, which room does not count */
    uint64_t limit_hits; /* how often a group came to its limit; only grows, also where dropping page cache was the cure */
} OsPressureReading;
OsPressure *os_pressure_new(const char *prefix, Err *err); /* prefix as of os_memory_of */
void os_pressure_free(OsPressure *p);
void os_pressure_read(OsPressure *p, OsPressureReading *reading);

uint64_t os_rss_now(void);  /* resident bytes of this process */
uint64_t os_rss_peak(void); /* VmHWM */
/* Before the first thread begins: one heap for all of them, of which freed memory goes back; and now, what lies free in it. */
void os_heap_share(void);
void os_heap_trim(void);

/* ---- threads ------------------------------------------------------------------------------------------------------- */

typedef struct OsPool OsPool;
/* n_threads includes the calling thread; 0 means one per usable CPU. */
OsPool *os_pool_new(int n_threads, Err *err);
void os_pool_free(OsPool *pool);
int os_pool_threads(const OsPool *pool);
/* Runs fn(arg, task, worker) for task = 0..n_tasks-1, spread over the workers; returns when all are done. worker is
 * 0..threads-1 and identifies scratch memory; which worker gets which task is not defined. Must not be nested. */
typedef void OsTask(void *arg, int task, int worker);
void os_pool_run(OsPool *pool, int n_tasks, OsTask *fn, void *arg);
/* From now on only the first n threads work (0: all again); between runs. */
void os_pool_limit(OsPool *pool, int n_threads);
/* Binds thread i to cpus[i], for i < n; the calling thread stays free, for it is the caller's. NULL: every thread may run anywhere. */
void os_pool_pin(OsPool *pool, const int *cpus, int n);
int os_cpu_count(void); /* usable by this process (affinity and cgroup quota) */

/* ---- which CPUs there are ------------------------------------------------------------------------------------------- */

enum { OS_MOST_CPUS = 1024, OS_THREAD_CHOICES = 4 };
typedef struct OsCpu {
    int id, core, node; /* core: id of the first hardware thread of its core */
    int rank;           /* among those hardware threads of its core that we may use: 0 is the first */
    bool slow;          /* of a slower kind than the others (an efficiency core) */
    bool usable;        /* in our affinity mask */
} OsCpu;
typedef struct OsTopology {
    OsCpu cpu[OS_MOST_CPUS]; /* that are online, ascending */
    int n, n_usable;
    int quota; /* CPUs whose time the control groups (v1 and v2, the tightest of all ancestors) leave us; 0: no limit */
} OsTopology;
void os_topology(OsTopology *t);
/* The same of a machine whose /proc and /sys begin with a prefix, for a process that may run on `allowed` ("0-2,5"; NULL: ours). */
void os_topology_of(const char *prefix, const char *allowed, OsTopology *t);
/* Pure functions of a topology. How many threads can run at a time; which numbers of threads are worth trying (physical
 * cores first; out: OS_THREAD_CHOICES of them); where n threads should be bound, false where binding cannot help or may hurt. */
int os_topology_cpus(const OsTopology *t);
int os_topology_choices(const OsTopology *t, int *out);
bool os_topology_places(const OsTopology *t, int n_threads, int *cpus);

bool os_cut_file(const char *path, uint64_t bytes); /* to this length; false: that failed */

/* ---- cpu, time, terminal ------------------------------------------------------------------------------------------- */

/* One line per set of instructions that kernels use: its name for people, and for programs. */
#define OS_CPU_LIST(X)                                       \
    X(AVX2, "AVX2", "avx2")        /* AVX2 + FMA + F16C */   \
    X(AVX512, "AVX-512", "avx512") /* F, BW, VL, DQ, VNNI */ \
    X(NEON, "NEON+DotProd", "neon")                          \
    X(I8MM, "I8MM", "i8mm") /* beside NEON: the matrix product of bytes */

enum {
#define X(NAME, text, key) OS_CPU_PLACE_##NAME,
    OS_CPU_LIST(X)
#undef X
};
typedef enum OsCpuFlag {
#define X(NAME, text, key) OS_CPU_##NAME = 1 << OS_CPU_PLACE_##NAME,
    OS_CPU_LIST(X)
#undef X
} OsCpuFlag;
unsigned os_cpu_flags(void); /* what this CPU and this kernel can run */

uint64_t os_now_ns(void); /* monotonic */
void os_sleep_ns(uint64_t ns); /* or a little longer; a signal may end it */
uint64_t os_thread_cpu_ns(void); /* CPU time of the calling thread */
bool os_stdout_is_terminal(void);
int os_terminal_columns(void); /* of the terminal that is standard output; 0: not known */

/* After os_catch_interrupt the first Ctrl-C only sets the flag; the second one ends the process at once. */
void os_catch_interrupt(void);
bool os_interrupted(void);
void os_forget_interrupt(void); /* it was dealt with: the next Ctrl-C is a first one again. SIGTERM is not forgotten */
bool os_terminated(void); /* and it was not Ctrl-C, but SIGTERM, or a terminal that closed: an end, and not only of what is under way */

/* A progress line on stderr, redrawn at most ten times a second, only where stderr is a terminal and the log level allows. */
typedef struct OsProgress {
    const char *what; /* "loading", "prefill" */
    const char *unit; /* "tokens"; NULL: bytes */
    uint64_t total, done, start_ns, drawn_ns;
    bool on, visible;
} OsProgress;
void os_progress_start(OsProgress *p, const char *what, const char *unit, uint64_t total);
void os_progress_step(OsProgress *p, uint64_t done);
void os_progress_end(OsProgress *p); /* erases the line */

#endif
