/* Watching memory from the moment the plan is made: while dense weights are loaded, whether there is still room for the rest; then four
 * times a second, and whenever the cache has taken some more, whether it must shrink. */
#include "engine/inside.h"

static const uint64_t every_ns = UINT64_C(250000000);

void engine_watch_start(sluice_model *m) {
    Err err = {0};
    m->pressure_reader = os_pressure_new("", &err);
    if (!m->pressure_reader) log_debug("%s", err.text); /* nothing is lost but the watching */
    engine_pressure_init(&m->pressure, &m->plan, ENGINE_MIN_SLOTS);
}

void engine_watch_stop(sluice_model *m) { os_pressure_free(m->pressure_reader); }

static uint64_t slot_bytes(const sluice_model *m, uint32_t slots) { return slots * m->plan.slot_bytes; }

ErrCode engine_watch_opening(sluice_model *m, uint64_t dense_left, Err *err) {
    const sluice_plan *plan = &m->plan;
    if (!m->pressure_reader) return ERR_OK;
    OsPressureReading r;
    os_pressure_read(m->pressure_reader, &r);
    uint64_t fixed = dense_left + plan->state_bytes + plan->kv_bytes + plan->buffers_bytes;
    if (engine_pressure_begin(&m->pressure, &r, fixed)) return ERR_OK;
    char a[32], b[32];
    return err_set(err, ERR_MEMORY, "only %s of memory are left, and to open this model %s more are needed; something else may have taken "
                   "it since the plan was made: end that, or lower --ctx", format_size(r.room, a),
                   format_size(fixed + slot_bytes(m, m->pressure.slots_min), b));
}

void engine_watch_opened(sluice_model *m) {
    uint32_t slots = m->pressure.now;
    char a[32], b[32];
    if (slots >= m->plan.cache_slots) return;
    store_limit(m->store, slots);
    m->stats.cache_steps++;
    log_warn("there is less memory than planned: the expert cache begins with %s instead of %s, and grows when there is more",
             format_size(slot_bytes(m, slots), a), format_size(m->plan.cache_bytes, b));
}

static void say(const sluice_model *m, uint32_t before, uint32_t after, uint32_t filled) {
    char a[32], b[32];
    format_size(slot_bytes(m, before), a);
    format_size(slot_bytes(m, after), b);
    if (after > before) log_note("there is memory again: the expert cache grows from %s to %s", a, b);
    else if (after >= filled) log_warn("memory is nearly short: the expert cache grows to %s and not to %s", b, a);
    else log_warn("memory is short: the expert cache shrinks from %s to %s; what it held is read from disk again", a, b);
}

void engine_watch_filling(void *user) {
    sluice_model *m = user;
    if (!m->pressure_reader) return;
    uint64_t now = os_now_ns();
    OsPressureReading reading;
    os_pressure_read(m->pressure_reader, &reading);
    uint32_t before = m->pressure.now, filled = store_slots_filled(m->store);
    uint32_t after = engine_pressure_step(&m->pressure, &reading, filled, now);
    if (after == before) return;
    store_limit(m->store, after);
    m->stats.cache_steps++;
    say(m, before, after, filled);
}

void engine_watch_memory(sluice_model *m) {
    if (os_now_ns() - m->pressure.read_ns >= every_ns) engine_watch_filling(m);
}
