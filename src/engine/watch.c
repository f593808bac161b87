/* Watching memory while the network runs: a reading four times a second, and a cache that shrinks when it has to. */
#include "engine/inside.h"

static const uint64_t every_ns = UINT64_C(250000000);

void engine_watch_start(sluice_model *m) {
    Err err = {0};
    m->pressure_reader = os_pressure_new("", &err);
    if (!m->pressure_reader) log_debug("%s", err.text); /* nothing is lost but the watching */
    engine_pressure_init(&m->pressure, m->plan.slot_bytes, m->plan.cache_slots, ENGINE_MIN_SLOTS);
}

void engine_watch_stop(sluice_model *m) { os_pressure_free(m->pressure_reader); }

static void say(const sluice_model *m, uint32_t before, uint32_t after) {
    char a[32], b[32];
    format_size(before * m->plan.slot_bytes, a);
    format_size(after * m->plan.slot_bytes, b);
    if (after < before) log_warn("memory is short: the expert cache shrinks from %s to %s; what it held is read from disk again", a, b);
    else log_note("there is memory again: the expert cache grows from %s to %s", a, b);
}

void engine_watch_memory(sluice_model *m) {
    uint64_t now = os_now_ns();
    if (!m->pressure_reader || now - m->pressure.read_ns < every_ns) return;
    OsPressureReading reading;
    os_pressure_read(m->pressure_reader, &reading);
    uint32_t before = m->pressure.now, after = engine_pressure_step(&m->pressure, &reading, store_slots_filled(m->store), now);
    if (after == before) return;
    store_limit(m->store, after);
    m->stats.cache_steps++;
    say(m, before, after);
}
