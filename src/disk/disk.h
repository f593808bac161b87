/* disk: asynchronous reads of file ranges; knows no experts.
 *
 * What this is    one door (submit, reap) over backends: a pool of pread threads, io_uring, and a fake that fails, shortens or
 *                 delays reads for tests, all with O_DIRECT where the file system allows it; and mmap, to be compared with.
 * Who owns what   the caller owns every destination buffer and keeps it until the read is reaped.
 * What may fail   opening a file; a read (reported when reaped, with errno and the bytes that did arrive). A read that fails or
 *                 comes short has already been retried here.
 * Threads         one thread submits and reaps; the backend's own threads are invisible.
 * Promise         a reaped read with ERR_OK filled every byte that was asked for. Which backend is in force and whether I/O is
 *                 direct is always known (disk_info), and a fallback is said once. Checked by tests/unit/test_disk*.c.
 */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include "base/base.h"
#include "os/os.h"

typedef struct Disk Disk;

/* Bytes of a file, wherever they begin. */
typedef struct DiskRange {
    uint32_t file;   /* id of disk_add_file */
    uint32_t bytes;
    uint64_t offset;
} DiskRange;

/* One line per backend: its name, which is its word of --io. The first needs nothing; of those that disk_choose may take, a later one is
 * preferred. No backend silently becomes another: where the kernel refuses io_uring, disk_new fails and says why. A backend is a line
 * here and its file, which says disk_backend_name as a Backend (backend.h). */
#define DISK_FOR_USERS(X) \
    X(THREADS, threads)   \
    X(URING, uring)       \
    X(MMAP, mmap)
#define DISK_LIST(X) DISK_FOR_USERS(X) X(FAKE, fake) /* and one for tests */
#define DISK_CHOICES DISK_FOR_USERS(WORD_OF) "auto"  /* "threads|...|auto" */

typedef enum DiskBackend {
#define X(NAME, name) DISK_##NAME,
    DISK_LIST(X)
#undef X
    DISK_BACKENDS
} DiskBackend;
typedef enum DiskDirect { DISK_DIRECT_AUTO, DISK_DIRECT_ON, DISK_DIRECT_OFF } DiskDirect;

/* A hint is read only while no demand waits, few at a time, so that it never delays one. */
typedef enum DiskUrgency { DISK_DEMAND, DISK_HINT } DiskUrgency;

typedef struct DiskRead {
    uint32_t file;
    uint32_t need;    /* bytes from `offset` that must arrive; `bytes` may reach past the end of the file, `need` may not */
    uint64_t offset;  /* multiple of the alignment */
    uint32_t bytes;   /* multiple of the alignment */
    void *dst;        /* aligned memory of `bytes` bytes */
    uint64_t tag;     /* the caller's own */
    DiskUrgency urgency;
} DiskRead;

enum { DISK_PACES = 2 };

/* What the fake does; rates are per million reads, decided by a generator seeded with `seed` (the same run fails the same way). */
typedef struct DiskFaults {
    uint32_t error_ppm;    /* EIO */
    uint32_t short_ppm;    /* fewer bytes than asked */
    uint32_t long_ppm;     /* claims more bytes than were asked for */
    uint32_t delay_ppm;    /* begins delay_ms later, so completions come out of order */
    uint32_t delay_ms;
    uint32_t late_ppm;     /* the bytes are there, and late_ms later the drive says so */
    uint32_t late_ms;
    uint32_t stall_ppm;    /* the drive does not answer for stall_ms */
    uint32_t stall_ms;
    void (*pause)(void *user, const DiskRead *read, uint32_t ms); /* called by a reading thread in place of sleeping; NULL: sleeps */
    void *user;
    int64_t fail_file;     /* reads that touch this file and offset always fail; -1: none */
    uint64_t fail_offset;
    uint64_t fail_bytes;   /* or this many bytes from there on; 0: one */
    const char *fail_under; /* all reads of files whose path begins so fail; NULL: none */
    struct {
        const char *under;  /* files whose path begins so lie on a drive of their own, which reads */
        uint64_t bytes_per_s; /* so fast, one thing after the other */
    } paces[DISK_PACES];
    uint64_t seed;
} DiskFaults;

typedef struct DiskConfig {
    DiskBackend backend;
    DiskDirect direct;   /* ON: refuse to open what cannot be read directly; AUTO: fall back to buffered and say so once */
    int depth;           /* reads in flight, and threads of the thread backend; 0: default (8 threads, 128 for io_uring) */
    int hint_depth;      /* a hint starts only while fewer reads than this run; 0: default (6, at most half the depth) */
    int retries;         /* per read, after the first try; < 0: default (3) */
    uint32_t patience_ms; /* a warning when the drive has not answered for so long; 0: default (5000) */
    DiskFaults faults;   /* DISK_FAKE only */
} DiskConfig;

Disk *disk_new(const DiskConfig *config, Err *err);
void disk_free(Disk *d);
/* Registers a file for reading; ids count from 0. Whether it can be read directly is tried out here, by reading. */
ErrCode disk_add_file(Disk *d, const char *path, uint32_t *id, Err *err);
/* Registers a copy of a file, best on another drive: each read then goes to the copy whose drive will finish it first, by the rates that
 * were measured lately; a read that fails on one copy is tried on the others before it fails. Size and samples must agree with the
 * file. Before the first disk_alignment, which is that of the most demanding copy. */
ErrCode disk_add_copy(Disk *d, uint32_t file, const char *path, Err *err);
/* Tells that reads go to this memory, n pieces of piece_bytes, each read within one of them, in place of what was told before; NULL:
 * nowhere in particular. io_uring registers a piece with the kernel before the first read into it, where it may, which pins its pages
 * from then on. Whoever gives pages back to the kernel (madvise), or frees the memory, must end the registration before, or reads land
 * in pages that nobody sees: of one piece with disk_unregister, of all by calling this again. Other backends do nothing. */
void disk_register(Disk *d, void *memory, uint64_t piece_bytes, uint32_t n);
/* The same for the one piece that begins here; nothing may be reading into it. The next read into it registers it anew. */
void disk_unregister(Disk *d, const void *piece);
/* Offset, length and memory alignment that reads of this file must keep: a power of two, 1 when buffered. */
uint32_t disk_alignment(const Disk *d, uint32_t file);
const char *disk_file_path(const Disk *d, uint32_t file);
uint64_t disk_file_bytes(const Disk *d, uint32_t file); /* when it was opened */
uint32_t disk_files(const Disk *d);                     /* how many there are */

typedef struct DiskDone {
    uint64_t tag;
    ErrCode code;
    Err err;          /* set where code != ERR_OK: names the file, offset, length and cause */
} DiskDone;

/* Queues the reads; never blocks on the disk. Fails only for a caller's mistake (misaligned, unknown file) or lack of room. */
ErrCode disk_submit(Disk *d, const DiskRead *reads, size_t n, Err *err);
/* Takes finished reads; wait: blocks until there is at least one, if any is in flight. Returns how many. A drive that does not answer
 * is waited for, and a warning names the file. */
size_t disk_reap(Disk *d, DiskDone *done, size_t max, bool wait);
size_t disk_in_flight(const Disk *d); /* submitted and not yet reaped */
size_t disk_room(const Disk *d);      /* demands that can be submitted now; hints never take the last three quarters of it */
size_t disk_hint_room(const Disk *d); /* hints that can be submitted now */

/* Takes back the hints with this tag that have not started: they will never be reaped and nothing is written for them. Returns
 * how many. Those that have started are reaped as always. */
size_t disk_cancel(Disk *d, uint64_t tag);
/* The hints with this tag are wanted now: those that wait stand in line as demands, those that are being read count as such. */
void disk_promote(Disk *d, uint64_t tag);

enum { DISK_LATENCIES = 24 };

typedef struct DiskInfo {
    const char *backend;     /* "threads", "uring", "mmap", "fake" */
    uint64_t registered_bytes; /* of the memory of disk_register, with the kernel */
    bool direct;             /* every file is read directly, and there is one */
    int depth;               /* reads that run at the same time */
    uint64_t reads, bytes;   /* reaped so far; bytes as they arrived, alignment included */
    uint64_t hint_reads, hint_bytes; /* of them those that were hints to the end */
    uint64_t cancelled;      /* hints that were taken back */
    uint64_t stalls;         /* warnings that the drive does not answer */
    uint32_t in_flight_max;  /* reads that ran at the same time, at most so far */
    uint64_t latency_ns;     /* of a demand, from its start to its landing (io_uring: to its being reaped); the mean of the latest */
    uint64_t latencies[DISK_LATENCIES]; /* demands that took less than 1, 2, 4, 8... us; the last: all that took longer */
    uint64_t retries;        /* attempts beyond the first: a read that failed, or the rest of one that came short */
    uint64_t busy_ns;        /* time during which at least one read was in flight (io_uring: and not yet reaped) */
    uint64_t demand_busy_ns; /* the same, of demands alone */
    uint64_t cpu_ns;         /* CPU time of the backend's own threads; 0: it has none */
} DiskInfo;
void disk_info(const Disk *d, DiskInfo *info);

/* A drive: files of one block device; partitions of one disk are one drive. */
typedef struct DiskDriveInfo {
    const char *name;      /* "nvme0n1", or "0:45" where there is no name */
    uint32_t files;        /* copies included */
    uint64_t reads, bytes; /* that it has answered, tries on another copy included */
    uint64_t busy_ns;      /* while it had something to do */
    double bytes_per_s;    /* lately, while it had something to do; 0: not known */
} DiskDriveInfo;
uint32_t disk_drives(const Disk *d);
void disk_drive_info(const Disk *d, uint32_t drive, DiskDriveInfo *info);

/* ---- measuring ----------------------------------------------------------------------------------------------------- */

/* How fast files can be read at pseudo-random places, through the same door as the engine's reads. No place is read twice in the life of
 * the process, whatever the request sizes, and a buffered read only where the page cache holds none of it: no cache of ours or the
 * kernel's can answer. A probe keeps its memory and its threads from _new to _free, so that a memory plan made in between counts them;
 * beside them 1 byte per 512 KiB of each file stays for the life of the process. */
typedef struct DiskProbeConfig {
    const char *const *paths; /* [n_paths] read in turn, borrowed until the end; the larger, the better */
    uint32_t n_paths;
    DiskBackend backend;
    DiskDirect direct;     /* AUTO: directly where all of them can be read so */
    int depth;             /* most reads in flight that will be asked for; 0: the backend's default */
    void *memory;          /* for the reads, aligned to a page, borrowed until the end; NULL: its own */
    uint64_t memory_bytes; /* at least one read */
    bool again;            /* where every place was read once, or all are in the page cache, it goes on all the same, and says so */
    DiskFaults faults;     /* DISK_FAKE only */
} DiskProbeConfig;

typedef struct DiskProbeRun {
    uint32_t read_bytes;   /* of one read; rounded up to the alignment */
    int depth;             /* reads in flight; 0: the backend's default. Less where the memory is for less */
    double seconds;        /* how long, about; at least four times the depth are read where that does not take twice as long */
    uint64_t bytes;        /* how much may be read; 0: no limit */
} DiskProbeRun;

typedef struct DiskRate {
    double bytes_per_s;    /* of the steady state: what came after the first arrival, while the depth was kept */
    double read_s;         /* mean time of one read, from submission to arrival */
    uint64_t reads, bytes; /* that arrived while the depth was kept */
    uint32_t read_bytes;
    int depth;
    uint64_t warm_reads;   /* places that the page cache held although it was told to drop them: left out if others are left */
    bool cached;           /* `again`: some places had been read before, or were in the page cache: a cache may have answered */
    bool used_up;          /* stopped early: no place was left that was not read before */
} DiskRate;

typedef struct DiskProbe DiskProbe;
DiskProbe *disk_probe_new(const DiskProbeConfig *config, Err *err);
void disk_probe_free(DiskProbe *p);
void disk_probe_info(const DiskProbe *p, DiskInfo *info);
/* Blocks until done. ERR_RANGE: no file is as large as one read, or the memory is not; ERR_STATE: no place was left to read. */
ErrCode disk_probe_run(DiskProbe *p, const DiskProbeRun *run, DiskRate *out, Err *err);

/* ---- choosing ------------------------------------------------------------------------------------------------------ */

typedef struct DiskChoose {
    const char *path;      /* the file that is read most */
    uint64_t bytes;        /* how much there is to read at all: below 64 MiB nothing is measured, there is nothing to gain */
    uint32_t read_bytes;   /* of a typical read */
    bool any_backend;      /* threads or io_uring; otherwise this one: */
    DiskBackend backend;
    DiskDirect direct;     /* AUTO: directly or through the page cache, whichever is faster */
    uint64_t memory_bytes; /* at most so much is used while measuring; 0: 16 MiB */
    const char *state_dir; /* where rates are remembered, per file system, kernel and size of reads; NULL: nowhere */
} DiskChoose;

typedef struct DiskChoice {
    DiskBackend backend;
    DiskDirect direct;     /* for DiskConfig: AUTO where direct reads were asked for as auto and have won, or nothing was measured */
    double bytes_per_s;    /* of this way, at 16 reads or what the memory allows; 0: not measured */
    bool fresh;            /* measured now */
    char why[240];         /* "measured on 2026-11-20: uring direct 5.10 GB/s, ...", "as asked for", "not measured: ..." */
} DiskChoice;

/* The words of --io and --direct as wishes; NULL is "auto". ERR_USAGE says what there is to choose from. */
ErrCode disk_words(const char *io, const char *direct, DiskChoose *how, Err *err);
/* Decides how a file should be read. Measures each way for a moment (about a second in all) unless the state folder knows; says once
 * what was found, and what dropped out and why. Always comes to a decision: threads where nothing can be measured. */
void disk_choose(const DiskChoose *how, DiskChoice *out);

#endif
