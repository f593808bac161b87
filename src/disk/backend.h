/* Private to the disk room: what a backend is, and what all backends share.
 *
 * A Disk owns a fixed table of requests. The door (disk.c) checks reads, takes requests from the table and pushes their numbers
 * to the backend; the backend carries them out, stepping each with disk_request_step, and gives the numbers back when pulled. So a
 * backend never allocates, never judges a result by itself and never writes a sentence.
 */
#ifndef DISK_BACKEND_H
#define DISK_BACKEND_H

#include "disk/disk.h"

enum {
    DISK_QUEUE = 1024,        /* reads that may be submitted and not yet reaped */
    DISK_HINTS = 256,         /* of them hints: the rest is always there for demands */
    DISK_DEPTH_MAX = 256,
    DISK_DRIVES_MAX = 32,
    DISK_HINT_DEPTH_DEFAULT = 6,
    DISK_RETRIES_DEFAULT = 3,
    DISK_PATIENCE_MS_DEFAULT = 5000
};

typedef struct DiskFile {
    OsFile os;
    char *path;
    uint32_t alignment; /* 1: buffered */
    char *map;          /* mmap: its bytes */
    uint32_t fixed;     /* 1 + its place among the files that the kernel keeps for us; 0: not among them */
    bool direct;
    uint32_t drive;           /* which of Disk.drives it lies on */
    struct DiskFile **copies; /* [n_copies] with the same bytes */
    uint32_t n_copies;
    bool distrusted;          /* a read of it has failed for good: it is read only where no other copy is left */
} DiskFile;

typedef struct Drive {
    uint64_t device; /* tells drives apart */
    char name[32];
    uint32_t files, queued_reads;
    uint64_t queued_bytes;
    uint64_t since_ns, until_ns, window_bytes; /* of the time that is being measured: its begin, the latest arrival in it */
    double recent_bytes, recent_ns;            /* decaying sums: their ratio is the rate */
    uint64_t measured_ns;
    uint64_t reads, bytes, busy_ns;
} Drive;

/* ---- one read on its way ------------------------------------------------------------------------------------------- */

#define NO_REQUEST UINT32_MAX
typedef enum RequestPlace { REQUEST_FREE, REQUEST_WAITING, REQUEST_RUNNING, REQUEST_LANDED } RequestPlace;

typedef struct Request {
    DiskRead read;
    const DiskFile *file;
    uint64_t sequence; /* counts submissions from 0; the fake draws its faults from it */
    uint32_t got;      /* bytes that have arrived, counted from read.offset */
    int tries;         /* attempts that brought nothing */
    int again;         /* attempts beyond the first */
    int error;         /* errno of the latest attempt that brought nothing; 0: it came short */
    RequestPlace place;
    uint32_t next, prev; /* in the list of its place */
    uint64_t started_ns; /* when it was last given to the drive */
    uint32_t hint_at;    /* where it stands in Disk.hints, if it is a hint */
    uint32_t tried;      /* bits: copies that were asked, 0 is the file itself */
    uint64_t landed_ns;  /* when its end was noticed */
} Request;

typedef enum RequestState { REQUEST_AGAIN, REQUEST_DONE, REQUEST_FAILED } RequestState;

/* The bytes of a request that the next attempt must ask for: all at first, what is missing after a short read. */
typedef struct Range {
    uint64_t offset;
    uint32_t bytes;
    char *dst;
} Range;
Range disk_request_range(const Request *r);
/* Takes the result of an attempt at disk_request_range(r): bytes that arrived, or -errno. */
RequestState disk_request_step(Request *r, int64_t result, int retries);

/* ---- backends ------------------------------------------------------------------------------------------------------ */

/* One attempt: bytes that arrived, or -errno. Called from the threads of the thread backend. */
typedef int64_t ReadOnce(const Disk *d, const Request *r);

typedef struct Backend {
    const char *name;
    int default_depth;
    bool is_choosable;   /* --io auto may take it */
    bool buffered_only;  /* it reads through the page cache, never directly */
    bool notes_landings; /* when a read landed is known exactly, not only when somebody looked */
    ReadOnce *read_once; /* with the threads of the thread backend */
    ErrCode (*start)(Disk *d, Err *err);
    void (*stop)(Disk *d); /* waits for the attempts that run, forgets the rest; also after a start that failed half-way */
    void (*push)(Disk *d, const uint32_t *numbers, size_t n);                /* there is always room */
    size_t (*pull)(Disk *d, uint32_t *numbers, size_t max, uint64_t wait_ns); /* finished ones, DONE or FAILED; waits at most so long */
    const DiskFile *(*oldest)(const Disk *d);                       /* of the read that is longest on its way; NULL: none is */
    size_t (*cancel)(Disk *d, uint32_t *numbers, size_t n);         /* hints: those that had not started come first; how many */
    void (*promote)(Disk *d, const uint32_t *numbers, size_t n);    /* hints: those that have not landed become demands */
    void (*count)(const Disk *d, DiskInfo *info);                   /* fills in the times, and how much memory is registered */
    ErrCode (*opened)(Disk *d, DiskFile *file, Err *err);           /* may be NULL: a file that will be read */
    void (*closed)(DiskFile *file);                                 /* may be NULL: before it is closed */
    void (*memory)(Disk *d, void *memory, uint64_t piece_bytes, uint32_t n); /* may be NULL: disk_register */
    void (*forget)(Disk *d, const void *piece);                     /* with memory: disk_unregister */
} Backend;

struct Disk {
    DiskConfig config; /* defaults filled in */
    const Backend *backend;
    void *backend_state;
    DiskFile **files; /* [n_files]; each stays where it is, because threads look at them */
    uint32_t n_files;
    Drive drives[DISK_DRIVES_MAX]; /* [n_drives] */
    uint32_t n_drives;
    bool said_buffered;
    Request *requests;      /* [DISK_QUEUE] */
    uint32_t *free_numbers; /* [n_free] of at most DISK_QUEUE */
    uint32_t n_free;
    uint32_t hints[DISK_HINTS]; /* [n_hints] numbers: hints that were submitted and neither reaped, cancelled nor promoted */
    uint32_t n_hints;
    uint64_t patience_ns; /* how long the drive may be silent before that is said; grows */
    uint64_t stalls;
    uint64_t n_submitted;
    uint64_t reads, bytes, retries, hint_reads, hint_bytes, cancelled;
};

#define X(NAME, name) extern const Backend disk_backend_##name;
DISK_LIST(X)
#undef X
const Backend *disk_backend_of(DiskBackend backend); /* words.c; NULL: there is no such backend */
static inline bool backend_is_buffered(DiskBackend backend) { return disk_backend_of(backend) && disk_backend_of(backend)->buffered_only; }
int64_t disk_read_plain(const Disk *d, const Request *r); /* threads.c: pread */
int64_t disk_read_mmap(const Disk *d, const Request *r);  /* mmap.c: a copy out of the mapping */
int64_t disk_read_fake(const Disk *d, const Request *r);  /* fake.c: pread, and the faults of d->config.faults */
/* mmap.c */
ErrCode disk_mmap_start(Disk *d, Err *err);
ErrCode disk_mmap_opened(Disk *d, DiskFile *file, Err *err);
void disk_mmap_closed(DiskFile *file);

size_t disk_pull_patiently(Disk *d, uint32_t *numbers, size_t max); /* stall.c */

/* ---- hints: hints.c ------------------------------------------------------------------------------------------------ */

void disk_hints_add(Disk *d, uint32_t number);
void disk_hints_remove(Disk *d, uint32_t number);

/* ---- drives and copies ---------------------------------------------------------------------------------------------- */

ErrCode disk_file_open(Disk *d, const char *path, DiskFile **file, Err *err); /* disk.c: opened as the configuration says */

void disk_drive_of(Disk *d, DiskFile *f); /* finds or adds the drive of a file */
void disk_drive_begins(Disk *d, const Request *r, uint64_t now);
void disk_drive_ends(Disk *d, const Request *r, bool exact); /* exact: landed_ns is when it landed, not when somebody looked */
void disk_drive_forgets(Disk *d, const Request *r);          /* it was taken back */
bool disk_drive_wants_a_trial(const Disk *d, uint32_t drive, uint64_t now);
double disk_drive_finishes_in(const Disk *d, uint32_t drive, uint32_t bytes, uint64_t now); /* ns */

void disk_copies_start(Disk *d, Request *r, uint64_t now);       /* chooses the file that a new request reads */
bool disk_copies_try_another(Disk *d, Request *r, uint64_t now); /* a request that has failed; false: no copy is left */

/* fake.c: which pace of the faults holds for this file; -1: none. */
int disk_pace_of(const DiskFaults *f, const char *path);

/* ---- direct I/O ---------------------------------------------------------------------------------------------------- */

/* Opens a file for direct reads and finds their alignment. False: it cannot be read directly; then `cause` says why. */
enum { DIRECT_CAUSE_BYTES = 256 };
bool disk_direct_open(const char *path, OsFile *f, uint32_t *alignment, char cause[DIRECT_CAUSE_BYTES]);

#endif
