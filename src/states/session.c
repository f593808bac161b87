/* Sessions of a chat. NAME.json is what counts, {"version": 1, "state": FILE or null, "chat": what the caller gave}; FILE holds the state.
 * A new state has a new name and is written first, the JSON takes its place in one step, and then the old state goes: so the two that
 * NAME.json speaks of always belong together. */
#include "states/inside.h"
#include "text/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_NAME = 64, SESSION_TEXT = 256 << 20, SESSION_PATH = 4096, SESSION_FOLDER = 3800 };

static bool name_ok(const char *name) {
    size_t n = strlen(name);
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    return n > 0 && n <= SESSION_NAME && name[0] != '.' && strspn(name, letters) == n;
}

static ErrCode path_of(const char *folder, const char *name, const char *end, char path[SESSION_PATH], Err *err) {
    if (!name_ok(name))
        return err_set(err, ERR_USAGE, "a session cannot be called \"%.80s\": up to 64 letters, digits, '-', '_' and '.', not first", name);
    if (strlen(folder) > SESSION_FOLDER) return err_set(err, ERR_USAGE, "%.200s...: the path is too long", folder);
    snprintf(path, SESSION_PATH, "%.3800s/sessions/%.64s%s", folder, name, end);
    return ERR_OK;
}

static ErrCode from_api(const sluice_error *from, Err *err) {
    ErrCode code = from->code > ERR_OK && from->code <= (int)ERR_INTERRUPTED ? (ErrCode)from->code : ERR_STATE;
    return err_set(err, code, "%s", from->message);
}

/* ---- reading ---- */

/* The object of NAME.json; NULL and a sentence: absent or damaged. */
static json_t *read_object(const char *path, Err *err) {
    Buf text = {0};
    json_error_t where;
    if (os_read_file(path, SESSION_TEXT, &text, err)) return NULL;
    json_t *o = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &where);
    buf_free(&text);
    if (o && json_integer_value(json_object_get(o, "version")) == 1 && json_object_get(o, "chat")) return o;
    err_set(err, ERR_FORMAT, "%s: a damaged session%s%s", path, o ? "" : ": ", o ? "" : where.text);
    json_decref(o);
    return NULL;
}

/* The name of its state, which is a plain file name that belongs to this session; NULL: there is none. */
static const char *state_of(const json_t *o, const char *name) {
    const char *state = json_string_value(json_object_get(o, "state"));
    bool own = state && strncmp(state, name, strlen(name)) == 0 && state[strlen(name)] == '~' && !strchr(state, '/');
    return own ? state : NULL;
}

static ErrCode dump(const json_t *o, Buf *out, Err *err) {
    buf_clear(out);
    return text_json_put(o, out) ? ERR_OK : err_no_memory(err, 4096, "a session");
}

static size_t restore(const char *path, const sluice_model *model, sluice_session *session, Err *why) {
    sluice_error failed = {0};
    size_t n = 0;
    sluice_snapshot *snap = sluice_snapshot_load(model, path, &failed);
    if (snap && sluice_snapshot_restore(session, snap, &failed) == SLUICE_OK) (void)sluice_snapshot_ids(snap, &n);
    else from_api(&failed, why);
    sluice_snapshot_free(snap);
    return n;
}

ErrCode states_session_load(const char *folder, const char *name, Buf *json, const sluice_model *model, sluice_session *session,
                            size_t *tokens, Err *why, Err *err) {
    char path[SESSION_PATH];
    *tokens = 0;
    ErrCode code = path_of(folder, name, ".json", path, err);
    json_t *o = code ? NULL : read_object(path, err);
    if (!o) return code ? code : err->code;
    code = dump(json_object_get(o, "chat"), json, err);
    const char *state = state_of(o, name);
    if (!code && session) {
        sluice_session_reset(session);
        snprintf(path, sizeof path, "%.3800s/sessions/%.104s", folder, state ? state : "");
        if (state) *tokens = restore(path, model, session, why);
        else err_set(why, ERR_STATE, "session %s was saved without its state", name);
    }
    json_decref(o);
    return code;
}

/* ---- writing ---- */

static ErrCode save_state(const char *path, const sluice_model *model, const sluice_session *session, Err *err) {
    sluice_error failed = {0};
    sluice_snapshot *snap = sluice_snapshot_take(session, &failed);
    if (!snap || sluice_snapshot_save(model, snap, path, &failed)) from_api(&failed, err);
    sluice_snapshot_free(snap);
    return failed.code ? err->code : ERR_OK;
}

static ErrCode save_text(const char *path, const char *json, const char *state, Err *err) {
    json_error_t where;
    json_t *chat = json_loads(json, JSON_DECODE_ANY, &where);
    if (!chat) return err_set(err, ERR_FORMAT, "%s: what is to be saved is no JSON: %s", path, where.text);
    json_t *o = json_pack("{s:i,s:s?,s:o}", "version", 1, "state", state, "chat", chat);
    Buf text = {0};
    ErrCode code = o ? dump(o, &text, err) : err_no_memory(err, strlen(json), "a session");
    if (!code) code = os_write_file(path, text.ptr, text.len, err);
    buf_free(&text);
    json_decref(o);
    return code;
}

/* States of this session that its JSON does not speak of: what was before, or what a crash left. */
typedef struct Sweep {
    const char *folder, *name, *keep;
} Sweep;

static bool sweep(void *user, const OsEntry *entry) {
    const Sweep *w = user;
    size_t n = strlen(w->name);
    char path[SESSION_PATH];
    if (strncmp(entry->name, w->name, n) != 0 || entry->name[n] != '~' || (w->keep && strcmp(entry->name, w->keep) == 0)) return true;
    snprintf(path, sizeof path, "%.3800s/sessions/%.255s", w->folder, entry->name);
    os_remove(path);
    return true;
}

static void sweep_states(const char *folder, const char *name, const char *keep) {
    char path[SESSION_PATH];
    snprintf(path, sizeof path, "%.3800s/sessions", folder);
    (void)os_list(path, sweep, &(Sweep){folder, name, keep}, NULL);
}

ErrCode states_session_save(const char *folder, const char *name, const char *json, const sluice_model *model,
                            const sluice_session *session, Err *err) {
    char path[SESSION_PATH], state[SESSION_NAME + 40] = "";
    ErrCode code = path_of(folder, name, ".json", path, err);
    if (code) return code;
    char sessions[SESSION_PATH];
    snprintf(sessions, sizeof sessions, "%.3800s/sessions", folder);
    code = os_make_folder(sessions, err);
    if (!code && session && sluice_position(session) > 0) {
        char file[SESSION_PATH];
        snprintf(state, sizeof state, "%s~%llx.state", name, (unsigned long long)os_now_ns());
        snprintf(file, sizeof file, "%.3810s/%s", sessions, state);
        Err why = {0};
        if (save_state(file, model, session, &why)) { /* what was said matters more */
            log_warn("session %s is saved without its state, so its tokens will be computed again: %s", name, why.text);
            state[0] = 0;
        }
    }
    if (!code) code = save_text(path, json, state[0] ? state : NULL, err);
    /* the state of a text that could not be written goes with the next save */
    if (!code) sweep_states(folder, name, state[0] ? state : NULL);
    return code;
}

ErrCode states_session_delete(const char *folder, const char *name, Err *err) {
    char path[SESSION_PATH];
    ErrCode code = path_of(folder, name, ".json", path, err);
    if (code) return code;
    if (!os_exists(path)) return err_set(err, ERR_USAGE, "there is no session %s", name);
    os_remove(path);
    sweep_states(folder, name, NULL);
    return os_exists(path) ? err_set(err, ERR_IO, "%s: cannot be removed", path) : ERR_OK;
}

/* ---- listing ---- */

typedef struct Listing {
    StatesSession *list;
    size_t n, cap;
    bool no_memory;
} Listing;

static bool on_entry(void *user, const OsEntry *entry) {
    Listing *l = user;
    Str name = str_c(entry->name);
    if (entry->folder || !str_ends(name, ".json") || name.len - 5 > SESSION_NAME) return true;
    if (l->n == l->cap) {
        StatesSession *longer = mem_resize(l->list, l->cap ? 2 * l->cap : 32, sizeof *longer);
        l->no_memory = !longer;
        if (!longer) return false;
        l->list = longer;
        l->cap = l->cap ? 2 * l->cap : 32;
    }
    StatesSession *s = &l->list[l->n++];
    *s = (StatesSession){.modified = entry->modified};
    memcpy(s->name, name.ptr, name.len - 5);
    return true;
}

static int newest_first(const void *a, const void *b) {
    int64_t x = ((const StatesSession *)a)->modified, y = ((const StatesSession *)b)->modified;
    return (x < y) - (x > y);
}

ErrCode states_session_list(const char *folder, StatesSession **list, size_t *n, Err *err) {
    char path[SESSION_PATH];
    Listing l = {0};
    *list = NULL;
    *n = 0;
    snprintf(path, sizeof path, "%.3800s/sessions", folder);
    if (!os_is_dir(path)) return ERR_OK;
    ErrCode code = os_list(path, on_entry, &l, err);
    if (!code && l.no_memory) code = err_no_memory(err, l.n * sizeof *l.list, "the list of sessions");
    if (code) {
        mem_free(l.list);
        return code;
    }
    if (l.n) qsort(l.list, l.n, sizeof *l.list, newest_first);
    *list = l.list;
    *n = l.n;
    return ERR_OK;
}
