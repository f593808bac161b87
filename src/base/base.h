/* base: what every room stands on.
 *
 * What this is    errors with a sentence, memory that can be made to fail, arenas, growable bytes, a string map, logging,
 *                 sizes like "8G", choices like "on|off", random numbers.
 * Who owns what   the caller owns everything it creates here; an arena owns all that was taken from it.
 * What may fail   allocations (NULL, or a sticky `failed` flag in Buf); parsing. Nothing here asks the kernel for more.
 * Threads         no hidden state except the log level and the allocation counter (both atomic); one object, one thread.
 * Promise         a message set once is never overwritten by a later, less precise one (err_prefix puts context before it).
 *                 Checked by tests/unit/test_base.c.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The compiler's own checks: this, and the analyzer's err_set below. No other room but os/ and kernels/ asks what it is built for. */
#if defined(__GNUC__)
#define BASE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define BASE_PRINTF(fmt, args)
#endif

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* ---- errors -------------------------------------------------------------------------------------------------------- */

/* One line per kind of failure: name, exit code of the command line. */
#define ERR_LIST(X)                                                     \
    X(ERR_OK, 0)                                                        \
    X(ERR_USAGE, 2)                                                     \
    X(ERR_IO, 1)          /* a read or write failed */                  \
    X(ERR_FORMAT, 1)      /* a file is damaged or not what it claims */ \
    X(ERR_UNSUPPORTED, 1) /* valid, but not supported yet */            \
    X(ERR_MEMORY, 1)      /* out of memory, or a budget does not fit */ \
    X(ERR_RANGE, 1)       /* a value is out of range */                 \
    X(ERR_STATE, 1)       /* not possible in this state */              \
    X(ERR_INTERRUPTED, 130)

typedef enum ErrCode {
#define X(name, exit_code) name,
    ERR_LIST(X)
#undef X
} ErrCode;

typedef struct Err {
    ErrCode code;
    char text[1024]; /* one sentence: the cause, and where possible the cure; names the file and offset */
} Err;

/* Sets code and text, returns code, so that `return err_set(...)` reads well. err may be NULL. */
ErrCode err_set(Err *err, ErrCode code, const char *fmt, ...) BASE_PRINTF(3, 4);
/* Puts "context: " before the text that is already there; returns err's code. */
ErrCode err_prefix(Err *err, const char *fmt, ...) BASE_PRINTF(2, 3);
/* The standard sentence for a failed allocation of `bytes` for `what`. */
ErrCode err_no_memory(Err *err, uint64_t bytes, const char *what);
int err_exit_code(ErrCode code);

#ifdef __clang_analyzer__
/* clang-tidy does not look into err.c. Told that err_set returns its code, it does not follow paths that cannot be. */
static inline ErrCode err_code(ErrCode code) { return code; }
#define err_set(err, code, ...) ((err_set)(err, code, __VA_ARGS__), err_code(code))
#endif

/* ---- memory -------------------------------------------------------------------------------------------------------- */

/* All heap memory of the project comes from here, so that a test can make the n-th allocation fail. count * size is checked
 * for overflow; the memory is zeroed. */
void *mem_new(size_t count, size_t size);
void *mem_resize(void *ptr, size_t count, size_t size); /* like realloc; new bytes are not zeroed */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t len); /* copies exactly len bytes and adds a NUL */
void mem_free(void *ptr);
/* Tests only: the n-th allocation from now (1 = the next) and all later ones fail; 0 switches this off. */
void mem_fail_after(uint64_t n);
/* How many allocations were made so far by the whole process. */
uint64_t mem_allocation_count(void);
/* How many of them are not freed. */
uint64_t mem_live_count(void);

#define MEM_NEW(type, count) ((type *)mem_new((count), sizeof(type)))

/* An arena: many small objects, freed together. */
typedef struct Arena {
    struct ArenaBlock *head;
    size_t total; /* bytes taken from the heap */
} Arena;
/* align: a power of two, at most 16. The memory is zeroed; NULL when out of memory. */
void *arena_alloc(Arena *a, size_t bytes, size_t align);
char *arena_strndup(Arena *a, const char *s, size_t len);
void arena_free(Arena *a);

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

/* A borrowed run of bytes, not NUL-terminated. */
typedef struct Str {
    const char *ptr;
    size_t len;
} Str;
static inline Str str_make(const char *ptr, size_t len) {
    Str s = {ptr, len};
    return s;
}
Str str_c(const char *z); /* of a NUL-terminated string */
bool str_eq(Str a, Str b);
bool str_eq_c(Str a, const char *z);
bool str_starts(Str s, const char *prefix);
bool str_ends(Str s, const char *suffix);
/* True where the bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
bool utf8_valid(const char *s, size_t len);
/* Puts '?' for each byte that belongs to no character: where words of the world stand in a sentence, or its end was cut off. */
void utf8_clean(char *z);

/* Numbers at any address, in the byte order of the machine, which is that of our files. */
static inline uint16_t load_u16(const void *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t load_u32(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t load_u64(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* A growable run of bytes, always NUL-terminated after the first put. When memory runs out `failed` becomes and stays true and
 * further puts do nothing: check once at the end. */
typedef struct Buf {
    char *ptr;
    size_t len, cap;
    bool failed;
} Buf;
void buf_put(Buf *b, const void *bytes, size_t len);
void buf_puts(Buf *b, const char *z);
void buf_putc(Buf *b, char c);
void buf_printf(Buf *b, const char *fmt, ...) BASE_PRINTF(2, 3);
void buf_clear(Buf *b); /* keeps the memory */
void buf_free(Buf *b);

/* ---- words of the user --------------------------------------------------------------------------------------------- */

/* A kind of thing that has names (a cache policy, a rung of the kernels) stands once, as a list in a door: #define ROOM_LIST(X)
 * X(NAME, name) ... From it come the enum, the table, and, with this, the choices of the option that takes such a name: "a|b|c|". */
#define WORD_OF(NAME, name) #name "|"
/* "a|b|c" or "a|b|c|" -> "a, b or c". Returns out. */
const char *words_of(const char *choices, char *out, size_t size);

/* A word that an option takes, and what it stands for. */
typedef struct Word {
    const char *word;
    int value;
} Word;
/* The value of the given word; NULL: of the first one. ERR_USAGE names the choices: "--kv f8: choose f32, f16 or q8_0". */
ErrCode word_value(const char *flag, const Word *words, size_t n, const char *given, int *value, Err *err);

/* ---- string map ---------------------------------------------------------------------------------------------------- */

/* From byte strings to u32 values. Keys are borrowed and must outlive the map. */
typedef struct StrMap {
    struct StrMapEntry *entries; /* [cap], open addressing */
    uint32_t cap, used;
} StrMap;
bool strmap_reserve(StrMap *m, uint32_t n); /* false: out of memory */
/* False when out of memory or when the key is already there (then *existed, if given, is true and nothing changes). */
bool strmap_put(StrMap *m, Str key, uint32_t value, bool *existed);
bool strmap_get(const StrMap *m, Str key, uint32_t *value);
void strmap_free(StrMap *m);

/* ---- log ----------------------------------------------------------------------------------------------------------- */

typedef enum LogLevel { LOG_ERROR, LOG_WARN, LOG_NOTE, LOG_DEBUG } LogLevel;
void log_set_level(LogLevel level); /* default LOG_NOTE; --quiet LOG_ERROR, --verbose LOG_DEBUG */
LogLevel log_level(void);
/* One line to stderr, "sluice: " before it; a warning also says so. */
void log_error(const char *fmt, ...) BASE_PRINTF(1, 2);
void log_warn(const char *fmt, ...) BASE_PRINTF(1, 2);
void log_note(const char *fmt, ...) BASE_PRINTF(1, 2);
void log_debug(const char *fmt, ...) BASE_PRINTF(1, 2);

/* ---- numbers ------------------------------------------------------------------------------------------------------- */

/* "512M", "8G", "1.5T", "4096": binary units, optional trailing B or iB. False when it is no size. */
bool parse_size(const char *s, uint64_t *bytes);
/* "7GB/s", "500 MB/s", "6.5GiB/s": bytes per second; decimal units unless they say otherwise. A number alone is taken for a slip. */
bool parse_rate(const char *s, double *bytes_per_s);
/* Writes "1.50 GiB", "512 MiB", "17 B". Returns out. */
const char *format_size(uint64_t bytes, char out[32]);

/* What splitmix64 makes of its state, which takes one step for each number: 64 well-mixed bits. */
#define SPLITMIX_STEP UINT64_C(0x9E3779B97F4A7C15)
static inline uint64_t splitmix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

/* xoshiro256++, seeded by splitmix64 as its authors advise: from a seed the same numbers everywhere. */
typedef struct Xoshiro {
    uint64_t s[4];
} Xoshiro;
static inline void xoshiro_seed(Xoshiro *r, uint64_t seed) {
    for (int i = 0; i < 4; i++) r->s[i] = splitmix(seed += SPLITMIX_STEP);
}
static inline uint64_t xoshiro_rotate(uint64_t x, int k) { return x << k | x >> (64 - k); }
static inline uint64_t xoshiro_next(Xoshiro *r) {
    uint64_t *s = r->s, result = xoshiro_rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = xoshiro_rotate(s[3], 45);
    return result;
}
static inline double xoshiro_unit(Xoshiro *r) { return (double)(xoshiro_next(r) >> 11) * 0x1.0p-53; } /* uniform in [0, 1), 53 bits */

static inline uint64_t align_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }
static inline uint64_t align_down(uint64_t n, uint64_t to) { return n / to * to; }
/* a + b or a * b, false on overflow. */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *r) { return !__builtin_add_overflow(a, b, r); }
static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *r) { return !__builtin_mul_overflow(a, b, r); }

#endif
