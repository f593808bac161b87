/* What doctor found, for a person. */
#include "cli/doctor.h"
#include "cli/io.h"

#include <stdio.h>
#include <string.h>

static const char *limit_text(uint64_t bytes, char out[32]) { return bytes > INT64_MAX ? "no limit" : format_size(bytes, out); }

static void print_cpu(const Doctor *d) {
    unsigned flags = os_cpu_flags();
    out_printf("cpu      %s; kernels: %s (the CPU has", d->facts.cpu, d->profile.rung);
#define X(NAME, text, key) \
    if (flags & OS_CPU_##NAME) out_puts(" " text);
    OS_CPU_LIST(X)
#undef X
    out_puts(flags ? ")\n" : " no vectors that we use)\n");
}

static void print_machine(const Doctor *d) {
    const LabFacts *f = &d->facts;
    char a[32], b[32], c[32];
    print_cpu(d);
    out_printf("         %d threads", d->profile.machine.threads);
    if (f->quota_cpus > 0) out_printf(", a control group allows %.2f CPUs", f->quota_cpus);
    if (f->governor[0]) out_printf(", governor %s", f->governor);
    out_printf(", load %.2f\n", f->load);
    out_printf("memory   %s, %s available; control group: %s\n", format_size(f->memory.total, a), format_size(f->memory.available, b),
               limit_text(f->memory.cgroup_limit, c));
    out_printf("         sluice would take %s (--ram sets it)\n", format_size(engine_default_budget(f->memory.budget), a));
    out_printf("         huge pages: %s; may lock %s; swap %s, %s used; pressure is %s\n", f->huge_pages[0] ? f->huge_pages : "not told",
               limit_text(f->memlock_bytes, a), format_size(f->swap_total, b), format_size(f->swap_used, c),
               f->pressure ? "reported" : "not reported");
    out_printf("kernel   %s; io_uring: %s\n", f->kernel, d->uring_refused[0] ? d->uring_refused : "allowed");
}

static void print_rates(const Doctor *d) {
    const LabProfile *p = &d->profile;
    const EngineMachine *m = &p->machine;
    char a[32];
    out_printf("\nrates, %d threads\n", m->threads);
    out_printf("  memory       %7.1f GB/s read (over %s)\n", m->dram_bytes_per_s * 1e-9, format_size(p->dram_probe_bytes, a));
    out_printf("  dense        %7.2f G weights/s, one token, %s\n", m->dense_weights_per_s * 1e-9, p->dense_types);
    out_printf("  experts      %7.2f G weights/s, one token, %s\n", m->expert_weights_per_s * 1e-9, p->expert_types);
    out_printf("  prefill      %7.2f G weights/s, 64 tokens at once\n", m->batched_weights_per_s * 1e-9);
    out_printf("  disk         %7.2f GB/s in reads of %s, %d at a time; one alone takes %.2f ms (%s%s)\n", m->disk_bytes_per_s * 1e-9,
               format_size(p->request_bytes, a), p->depth, m->disk_read_s * 1e3, p->io, p->direct ? ", direct" : ", page cache");
    out_printf("  %s\n", d->profile_note);
}

static void print_sweep(const char *how, const DoctorSweep *s) {
    char a[32];
    bool cached = false;
    out_printf("\n  %s\n", how);
    if (s->refused[0]) {
        out_printf("    not possible: %s\n", s->refused);
        return;
    }
    out_printf("    %-10s", "in flight");
    for (int q = 0; q < DOCTOR_DEPTHS; q++) out_printf("%8d", doctor_depths[q]);
    out_puts("\n");
    for (int i = 0; i < DOCTOR_SIZES; i++) {
        out_printf("    %-10s", format_size(doctor_sizes[i], a));
        for (int q = 0; q < DOCTOR_DEPTHS; q++) {
            const DiskRate *r = &s->rate[i][q];
            if (r->bytes_per_s > 0) out_printf("%8.2f", r->bytes_per_s * 1e-9);
            else out_printf("%8s", "-");
            cached = cached || r->cached;
        }
        out_puts("\n");
    }
    if (cached) out_puts("    (the file is small, so places were read twice, or it stays in the page cache: a cache may have answered)\n");
}

static void print_options(const Options *o) {
    static const char *const from[] = {"default", "the file", "a variable", "a flag"};
    bool any = false;
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (!spec->everywhere || !opt_given(o, spec->id)) continue;
        const OptionValue *v = &o->value[spec->id];
        if (!any) out_puts("\noptions in force\n");
        any = true;
        out_printf("  %-12s %s (from %s)\n", spec->name, v->text ? v->text : v->integer ? "on" : "off", from[v->source]);
    }
    char path[1024];
    if (!any)
        out_printf("\noptions  none set by flag, SLUICE_* variable or %s\n",
                   config_path(path, sizeof path) ? path : "config.json");
}

static void print_model(const Doctor *d) {
    char a[32];
    if (d->refused[0]) {
        out_printf("\nmodel    %s\n", d->refused);
        return;
    }
    const EnginePrediction *s = &d->speed;
    out_printf("\nmodel    %.2f tokens/s expected in %s, prompts at %.1f; %s binds (%.0f %% of the experts in memory)\n", s->decode_tok_s,
               format_size(d->plan.ram_bytes, a), s->prefill_tok_s, s->bound_by, 100 * s->hit_rate);
    out_printf("         twice the memory: %.2f, a disk twice as fast: %.2f, memory twice as fast: %.2f, twice the cores: %.2f\n",
               d->more_memory.decode_tok_s, d->faster_disk.decode_tok_s, d->faster_memory.decode_tok_s, d->more_cores.decode_tok_s);
}

void doctor_print(const Doctor *d) {
    char a[32], b[32];
    print_machine(d);
    print_rates(d);
    out_printf("\ndisk     %s: %s, %s of %s free; GB/s by size of a read and reads in flight (%s)\n", d->site.path,
               d->site.place.file_system[0] ? d->site.place.file_system : "an unknown file system",
               format_size(d->site.place.free_bytes, a),
               format_size(d->site.place.total_bytes, b), d->profile.io);
    print_sweep("direct", &d->direct);
    print_sweep("through the page cache, emptied before", &d->buffered);
    if (d->predicted) print_model(d);
    print_options(d->o);
    out_puts("\n");
    for (int i = 0; i < d->n_traps; i++) out_printf("warning  %s\n         cure: %s\n", d->traps[i].text, d->traps[i].cure);
    if (!d->n_traps) out_puts("no trap found\n");
}
