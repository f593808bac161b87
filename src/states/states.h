/* states: what was computed before, so that it need not be computed again.
 *
 * What this is    a tree of token prefixes with the state after each, as snapshots in memory and, with a folder, as files. A prompt that
 *                 begins like an earlier one goes on from there. Beside it the sessions of a chat: text and state in one place.
 * Who owns what   a States owns its snapshots and, while it holds the folder's lock, the files of its model there. Model and sessions
 *                 are borrowed; the model must outlive it.
 * What may fail   opening, for lack of memory or because the folder cannot be made. Later nothing does: what does not fit is not kept,
 *                 what cannot be read is computed, and a disk that cannot be written is said once and left alone.
 * Threads         one, that of the model. Other processes may use the same folder: one of them writes, the others read.
 * Promise         a restored session goes on with the same bits as one that was fed everything. Memory and disk stay within what they
 *                 were given. Checked by tests/unit/test_states.c and tests/unit/test_states_disk.c.
 */
#ifndef STATES_STATES_H
#define STATES_STATES_H

#include "base/base.h"
#include "os/os.h"
#include "sluice.h"

/* Where in a conversation a state was taken: the later in this list, the dearer. */
typedef enum StatesKind {
    STATES_CHUNK,  /* somewhere in a long prompt: good when that is interrupted, or begins another one too */
    STATES_TURN,   /* where an answer ends: the next question comes after it */
    STATES_SYSTEM, /* behind the system prompt and the tools, where every conversation of a client begins */
} StatesKind;

typedef struct StatesConfig {
    sluice_model *model;
    uint64_t ram_bytes;  /* for snapshots; 0: all that the plan has for them */
    const char *folder;  /* the state folder; NULL: nothing is written */
    uint64_t disk_bytes; /* that the files of this model may take there; 0: 16 GiB */
} StatesConfig;

typedef struct States States;
States *states_new(const StatesConfig *config, Err *err);
/* What was not written yet is lost: call states_idle until it has nothing more to do, where that matters. */
void states_free(States *s);

/* Keeps the state that the session is in, which must have logits. False: it was not worth its memory, or there is too little. */
bool states_put(States *s, const sluice_session *session, StatesKind kind);
/* The tokens of the longest prefix of these ids that states_restore would begin with; 0: none. */
size_t states_find(const States *s, const int32_t *ids, size_t n);
/* Brings the session to the longest prefix that is kept (all n of them, with logits, where that very prompt was there before), and
 * returns its tokens; 0: none, and the session is reset. The random generator comes with the state: seed it afterwards. */
size_t states_restore(States *s, sluice_session *session, const int32_t *ids, size_t n);

/* For when there is nothing else to do: writes at most about so many bytes. True: there is more to do. */
bool states_idle(States *s, uint64_t bytes);

typedef struct StatesStats {
    uint32_t in_memory, on_disk;           /* states now */
    uint64_t memory_bytes, disk_bytes;     /* and what they take */
    uint64_t hits, misses, loads;          /* restored, of them read from disk; found nothing */
    uint64_t tokens_saved;                 /* that need not be computed */
    uint64_t evicted, refused;             /* dropped from memory; not kept for lack of it */
    uint64_t bytes_written, bytes_read, files_dropped, files_damaged;
    bool writes;                           /* this process is the one that writes the folder */
} StatesStats;
void states_stats(const States *s, StatesStats *stats);

/* ---- sessions of a chat ---- */

/* NAME.json in FOLDER/sessions, and beside it the state of its last turn, which is replaced together with it: whatever happens between,
 * one that exists is whole. json: any JSON, messages and settings; session may be NULL. Where the state cannot be kept, that is said
 * and the text is saved alone. Names: up to 64 letters, digits, '-', '_' and '.', which no name begins with. */
ErrCode states_session_save(const char *folder, const char *name, const char *json, const sluice_model *model,
                            const sluice_session *session, Err *err);
/* json: what was saved. *tokens: what the session was brought to; 0: its state cannot be used, `why` says why not, and the
 * session is reset. session may be NULL: the text alone. */
ErrCode states_session_load(const char *folder, const char *name, Buf *json, const sluice_model *model, sluice_session *session,
                            size_t *tokens, Err *why, Err *err);
ErrCode states_session_delete(const char *folder, const char *name, Err *err);

typedef struct StatesSession {
    char name[65];
    int64_t modified; /* nanoseconds since 1970 */
} StatesSession;
/* All of them, newest first: [*n], freed with mem_free. A folder that does not exist has none. */
ErrCode states_session_list(const char *folder, StatesSession **list, size_t *n, Err *err);

#endif
