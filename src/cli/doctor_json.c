/* What doctor found, as one JSON object. Rates are in GB/s (10^9 bytes) and in 10^9 weights per second. */
#include "cli/doctor.h"
#include "cli/io.h"

#include <stdio.h>
#include <string.h>

/* A size that may be without limit. */
static json_t *limit(uint64_t bytes) { return bytes > INT64_MAX ? json_null() : json_integer((json_int_t)bytes); }
static json_t *text_or_null(const char *s) { return s[0] ? json_text(s, strlen(s)) : json_null(); }

static json_t *cpu_json(const Doctor *d) {
    const LabFacts *f = &d->facts;
    unsigned flags = os_cpu_flags();
    json_t *cpu = json_pack("{s:s,s:s}", "name", f->cpu, "rung", d->profile.rung);
#define X(NAME, text, key) json_object_set_new(cpu, key, json_boolean(flags & OS_CPU_##NAME));
    OS_CPU_LIST(X)
#undef X
    json_object_set_new(cpu, "threads", json_integer(d->profile.machine.threads));
    json_object_set_new(cpu, "quota_cpus", f->quota_cpus > 0 ? json_real(f->quota_cpus) : json_null());
    json_object_set_new(cpu, "governor", text_or_null(f->governor));
    json_object_set_new(cpu, "kernel", text_or_null(f->kernel));
    json_object_set_new(cpu, "load", json_real(f->load));
    return cpu;
}

static json_t *memory_json(const LabFacts *f) {
    const OsMemory *m = &f->memory;
    return json_pack("{s:I,s:I,s:o,s:I,s:I,s:o,s:o,s:I,s:I,s:b}", "total_bytes", (json_int_t)m->total, "available_bytes",
                     (json_int_t)m->available, "cgroup_limit_bytes", limit(m->cgroup_limit), "cgroup_used_bytes",
                     (json_int_t)m->cgroup_used, "default_ram_bytes", (json_int_t)engine_default_budget(m->budget), "huge_pages",
                     text_or_null(f->huge_pages), "memlock_bytes", limit(f->memlock_bytes), "swap_bytes", (json_int_t)f->swap_total,
                     "swap_used_bytes", (json_int_t)f->swap_used, "pressure", f->pressure);
}

static void put_sweep(json_t *list, const char *mode, const DoctorSweep *s) {
    for (int i = 0; i < DOCTOR_SIZES; i++)
        for (int q = 0; q < DOCTOR_DEPTHS; q++) {
            const DiskRate *r = &s->rate[i][q];
            if (r->bytes_per_s <= 0) continue;
            json_t *point = json_pack("{s:s,s:I,s:i,s:f,s:f,s:b}", "mode", mode, "request_bytes", (json_int_t)doctor_sizes[i], "depth",
                                      r->depth, "gb_s", r->bytes_per_s * 1e-9, "read_ms", r->read_s * 1e3, "repeated", r->cached);
            if (point) (void)json_array_append_new(list, point);
        }
}

static json_t *disk_json(const Doctor *d) {
    json_t *sweep = json_array();
    put_sweep(sweep, "direct", &d->direct);
    put_sweep(sweep, "buffered", &d->buffered);
    const OsPlace *p = &d->site.place;
    return json_pack("{s:o,s:s,s:I,s:I,s:s,s:b,s:o,s:b,s:o,s:I,s:i,s:f,s:f,s:o}", "path", json_text(d->site.path, strlen(d->site.path)),
                     "file_system", p->file_system, "free_bytes", (json_int_t)p->free_bytes, "total_bytes", (json_int_t)p->total_bytes,
                     "io", d->profile.io, "direct", !d->direct.refused[0], "direct_refused", text_or_null(d->direct.refused), "uring",
                     !d->uring_refused[0], "uring_refused", text_or_null(d->uring_refused), "request_bytes",
                     (json_int_t)d->profile.request_bytes, "depth", d->profile.depth, "gb_s", d->profile.machine.disk_bytes_per_s * 1e-9,
                     "read_ms", d->profile.machine.disk_read_s * 1e3, "sweep", sweep);
}

static json_t *rates_json(const Doctor *d) {
    const EngineMachine *m = &d->profile.machine;
    return json_pack("{s:f,s:f,s:f,s:f,s:s,s:s,s:I}", "dram_gb_s", m->dram_bytes_per_s * 1e-9, "dense_gweights_s",
                     m->dense_weights_per_s * 1e-9, "expert_gweights_s", m->expert_weights_per_s * 1e-9, "batched_gweights_s",
                     m->batched_weights_per_s * 1e-9, "dense_types", d->profile.dense_types, "expert_types", d->profile.expert_types,
                     "dram_probe_bytes", (json_int_t)d->profile.dram_probe_bytes);
}

static json_t *options_json(const Options *o) {
    static const char *const from[] = {"default", "file", "variable", "flag"};
    json_t *list = json_array();
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (!spec->everywhere || !opt_given(o, spec->id)) continue;
        const OptionValue *v = &o->value[spec->id];
        const char *text = v->text ? v->text : v->integer ? "on" : "off";
        json_t *item = json_pack("{s:s,s:o,s:s}", "name", spec->name, "value", json_text(text, strlen(text)), "from", from[v->source]);
        if (item) (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *traps_json(const Doctor *d) {
    json_t *list = json_array();
    for (int i = 0; i < d->n_traps; i++) {
        const LabTrap *t = &d->traps[i];
        json_t *item = json_pack("{s:s,s:o,s:o}", "name", t->name, "text", json_text(t->text, strlen(t->text)), "cure",
                                 json_text(t->cure, strlen(t->cure)));
        if (item) (void)json_array_append_new(list, item);
    }
    return list;
}

static json_t *model_json(const Doctor *d) {
    if (!d->predicted) return json_null();
    const EnginePrediction *s = &d->speed;
    return json_pack("{s:b,s:o,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:s,s:f,s:f,s:f,s:f}", "fits", !d->refused[0], "why", text_or_null(d->refused),
                     "ram_bytes", (json_int_t)d->plan.ram_bytes, "dense_bytes", (json_int_t)d->plan.dense_bytes, "cache_slots",
                     (json_int_t)d->plan.cache_slots, "experts_total", (json_int_t)d->plan.experts_total, "predicted_hit_rate",
                     s->hit_rate, "predicted_decode_tok_s", s->decode_tok_s, "predicted_prefill_tok_s", s->prefill_tok_s, "bound_by",
                     s->bound_by, "with_twice_the_memory_tok_s", d->more_memory.decode_tok_s, "with_twice_the_disk_tok_s",
                     d->faster_disk.decode_tok_s, "with_twice_the_dram_tok_s", d->faster_memory.decode_tok_s, "with_twice_the_cores_tok_s",
                     d->more_cores.decode_tok_s);
}

json_t *doctor_json(const Doctor *d) {
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "model", model_json(d), "cpu", cpu_json(d), "memory",
                     memory_json(&d->facts), "disk", disk_json(d), "rates", rates_json(d), "options",
                     options_json(d->o), "warnings", traps_json(d));
}
