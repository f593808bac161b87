/* States as files have them: a snapshot of a session, and the session of a chat (src/engine/snapshot_load.c, src/states/session.c).
 *
 * Input: a byte for the kind. A snapshot: places and bytes to be written there into a good one of ours, two bytes for the place, one for
 * the value; then its three sums are made right again, so that what they protect is reached (kind bit 1: they are left wrong). A
 * session (bit 0): its JSON.
 * Property: a sentence, or a session that goes on. Nothing of the model's memory is lost. */
#include "fuzz/fuzz.h"

#include "engine/snapshot_file.h"
#include "fuzz/served.h"
#include "states/states.h"
#include "support/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { CONTEXT = 160, FED = 70 /* more than one block of keys */, MOST = 1 << 20 };

static sluice_model *model;
static sluice_session *session;
static uint8_t good[MOST], file[MOST];
static size_t n_good;
static char path[512], folder[400];

static void write_file(const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static void open_once(void) {
    sluice_error err;
    int32_t ids[FED];
    log_set_level(LOG_ERROR);
    sluice_options o = check_options(served_model("states.gguf"));
    o.ctx = CONTEXT;
    model = open_or_fail(&o);
    session = sluice_session_new(model, &err);
    assert_non_null(session);
    for (int i = 0; i < FED; i++) ids[i] = i * 3;
    assert_int_equal(sluice_feed(session, ids, FED, &err), 0);
    snprintf(folder, sizeof folder, "%s", temp_dir());
    snprintf(path, sizeof path, "%s/sessions", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/sessions/a~1.state", folder);
    sluice_snapshot *snap = sluice_snapshot_take(session, &err);
    assert_non_null(snap);
    assert_int_equal(sluice_snapshot_save(model, snap, path, &err), 0);
    sluice_snapshot_free(snap);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    n_good = fread(good, 1, sizeof good, f);
    fclose(f);
    assert_in_range(n_good, sizeof(SnapshotHead), sizeof good - 1);
}

/* The sums of what the head says is there, as far as it is there. */
static void make_sums_right(size_t n) {
    SnapshotHead h;
    memcpy(&h, file, sizeof h);
    SnapshotParts p = engine_snapshot_parts(&h);
    uint64_t ids = (uint64_t)h.position * sizeof(int32_t), logits = (uint64_t)h.vocab * sizeof(float);
    if (p.ids < n && ids <= n - p.ids) h.ids_hash = XXH3_64bits(file + p.ids, ids);
    if (p.logits < n && logits <= n - p.logits && p.rest < n && h.rest_bytes <= n - p.rest) {
        XXH3_state_t *hash = XXH3_createState();
        XXH3_64bits_reset(hash);
        XXH3_64bits_update(hash, file + p.logits, logits);
        XXH3_64bits_update(hash, file + p.rest, h.rest_bytes);
        h.rest_hash = XXH3_64bits_digest(hash);
        XXH3_freeState(hash);
    }
    if (p.keys <= p.end && p.end <= n) h.keys_hash = XXH3_64bits(file + p.keys, p.end - p.keys);
    h.head_hash = engine_snapshot_hash_head(&h);
    memcpy(file, &h, sizeof h);
}

static void try_snapshot(FuzzBytes *in, bool right) {
    sluice_error err = {0};
    size_t n = n_good;
    memcpy(file, good, n_good);
    while (in->len >= 3) {
        size_t at = fuzz_byte(in) << 8;
        at |= fuzz_byte(in);
        uint8_t value = (uint8_t)fuzz_byte(in);
        if (at < n) file[at] = value;
        else n = n - value; /* shorter, too */
    }
    if (right) make_sums_right(n);
    write_file(path, file, n);
    sluice_snapshot *snap = sluice_snapshot_load(model, path, &err);
    if (snap && sluice_snapshot_restore(session, snap, &err) == 0) {
        int32_t id = 1;
        if (sluice_position(session) < CONTEXT && sluice_feed(session, &id, 1, &err)) fuzz_sentence(err.message);
    } else {
        fuzz_sentence(err.message);
    }
    sluice_snapshot_free(snap);
}

static void try_session(Str text) {
    char name[512];
    Buf json = {0};
    Err why = {0}, err = {0};
    size_t tokens;
    write_file(path, good, n_good);
    snprintf(name, sizeof name, "%s/sessions/a.json", folder);
    write_file(name, text.ptr, text.len);
    if (states_session_load(folder, "a", &json, model, session, &tokens, &why, &err)) fuzz_sentence(err.text);
    else if (!tokens) fuzz_sentence(why.text);
    buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    if (!model) open_once();
    unsigned kind = fuzz_byte(&in);
    sluice_session_reset(session);
    if (kind & 1) try_session(fuzz_rest(&in));
    else try_snapshot(&in, !(kind & 2));
    return 0;
}
