/* Everything that the prediction needs of a machine, measured in a few seconds and kept in the state folder. */
#define _POSIX_C_SOURCE 200809L
#include "lab/lab.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { VERSION = 1, DISK_BUFFER = 32 << 20 };

static void name_types(const LabMix *mix, int n, char out[64]) {
    uint64_t all = 0;
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < n; i++) all += mix[i].weights;
    for (int i = 0; i < n; i++) {
        if (mix[i].weights < all / 100 || at > 48) continue;
        at += (size_t)snprintf(out + at, 64 - at, "%s%s", at ? "," : "", quant_traits(mix[i].type)->name);
    }
}

uint32_t lab_request_bytes(const Model *model) {
    if (!model) return 589824; /* a third of an expert of 3 * 512 * 2048 weights at 4.5 bits */
    uint64_t bytes = model_record_bytes(model) / MODEL_MATS;
    bytes = bytes ? align_up(bytes, 4096) : 4096;
    return bytes > (8 << 20) ? 8 << 20 : (uint32_t)bytes;
}

/* ---- the disk under the model's files, or under a scratch file ---- */

static void describe_disk(LabProfile *out, const char *path, const DiskProbe *probe) {
    DiskInfo info;
    OsPlace place;
    disk_probe_info(probe, &info);
    snprintf(out->disk_path, sizeof out->disk_path, "%s", path);
    snprintf(out->io, sizeof out->io, "%s", info.backend);
    out->direct = info.direct;
    out->depth = info.depth;
    if (os_place(path, &place, NULL) == ERR_OK) snprintf(out->file_system, sizeof out->file_system, "%s", place.file_system);
}

static ErrCode measure_files(const LabMeasure *how, const char *const *paths, uint32_t n, LabProfile *out, Err *err) {
    DiskProbeConfig config = {.paths = paths, .n_paths = n, .backend = how->backend, .direct = how->direct, .memory_bytes = DISK_BUFFER,
                              .again = true};
    DiskProbe *probe = disk_probe_new(&config, err);
    if (!probe) return err ? err->code : ERR_IO;
    describe_disk(out, paths[0], probe);
    LabDisk disk;
    ErrCode code = lab_disk(probe, out->request_bytes, 1, &disk, err);
    out->machine.disk_bytes_per_s = disk.bytes_per_s;
    out->machine.disk_read_s = disk.read_s;
    disk_probe_free(probe);
    return code;
}

static ErrCode measure_model(const LabMeasure *how, LabProfile *out, Err *err) {
    const FormatModel *format = how->model->format;
    const char **paths = MEM_NEW(const char *, format->n_files);
    if (!paths) return err_no_memory(err, (uint64_t)format->n_files * sizeof *paths, "the files of the model");
    for (uint32_t i = 0; i < format->n_files; i++) paths[i] = format->files[i].path;
    ErrCode code = measure_files(how, paths, format->n_files, out, err);
    mem_free(paths);
    return code;
}

static ErrCode measure_scratch(const LabMeasure *how, LabProfile *out, Err *err) {
    char path[1100];
    int n = snprintf(path, sizeof path, "%s/disk-probe.%llx.tmp", how->scratch_dir, (unsigned long long)os_now_ns());
    if (n < 0 || (size_t)n >= sizeof path) return err_set(err, ERR_RANGE, "%s: the path is too long", how->scratch_dir);
    ErrCode code = lab_scratch_file(path, LAB_SCRATCH_BYTES, err);
    if (code) return code;
    const char *paths[1] = {path};
    code = measure_files(how, paths, 1, out, err);
    (void)remove(path);
    snprintf(out->disk_path, sizeof out->disk_path, "%s", how->scratch_dir);
    return code;
}

/* ---- all of it ---- */

static ErrCode tell(const LabMeasure *how, const char *what, uint64_t done, Err *err) {
    enum { STEPS = 5 };
    if (!how->progress || how->progress(how->user, what, done, STEPS)) return ERR_OK;
    return err_set(err, ERR_INTERRUPTED, "interrupted while measuring");
}

static ErrCode measure_rates(const LabMeasure *how, LabProbe *p, LabProfile *out, Err *err) {
    EngineMachine *m = &out->machine;
    m->threads = lab_probe_threads(p);
    out->dram_probe_bytes = lab_probe_bytes(p);
    ErrCode code = tell(how, "memory", 0, err);
    if (!code) m->dram_bytes_per_s = lab_probe_dram(p);
    if (!code) code = tell(how, "arithmetic", 1, err);
    if (!code) m->dense_weights_per_s = lab_probe_dense(p);
    if (!code) code = tell(how, "arithmetic", 2, err);
    if (!code) m->expert_weights_per_s = lab_probe_expert(p);
    if (!code) code = tell(how, "arithmetic", 3, err);
    if (!code) m->batched_weights_per_s = lab_probe_batched(p);
    return code;
}

ErrCode lab_measure(const LabMeasure *how, LabProfile *out, Err *err) {
    memset(out, 0, sizeof *out);
    LabProbeConfig config = {.precise = how->precise, .threads = how->threads, .dram_bytes = how->dram_bytes};
    ErrCode code = kernels_choose(how->cpu, &config.kernels, err);
    if (code) return code;
    lab_formats(how->model, &config.formats);
    name_types(config.formats.dense, config.formats.n_dense, out->dense_types);
    name_types(config.formats.expert, config.formats.n_expert, out->expert_types);
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) (void)strftime(out->date, sizeof out->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    os_kernel(out->kernel);
    lab_cpu_name("", out->cpu, sizeof out->cpu);
    snprintf(out->rung, sizeof out->rung, "%s", config.kernels->name);
    out->request_bytes = lab_request_bytes(how->model);
    LabProbe *p = lab_probe_new(&config, err);
    if (!p) return err ? err->code : ERR_MEMORY;
    code = measure_rates(how, p, out, err);
    lab_probe_free(p);
    if (!code) code = tell(how, "disk", 4, err);
    if (!code && how->model) code = measure_model(how, out, err);
    else if (!code && how->file) code = measure_files(how, &how->file, 1, out, err);
    else if (!code && how->scratch_dir) code = measure_scratch(how, out, err);
    return code ? code : tell(how, "disk", 5, err);
}

bool lab_profile_fits(const LabProfile *profile, const char *rung, int threads) {
    char cpu[128];
    lab_cpu_name("", cpu, sizeof cpu);
    return strcmp(profile->cpu, cpu) == 0 && strcmp(profile->rung, rung) == 0 && profile->machine.threads == threads;
}

/* ---- the file ---- */

static ErrCode profile_path(const char *dir, char *out, size_t size, Err *err) {
    int n = snprintf(out, size, "%s/machine.json", dir);
    return n > 0 && (size_t)n < size ? ERR_OK : err_set(err, ERR_RANGE, "%s: the path is too long", dir);
}

static int put_text(const char *bytes, size_t n, void *user) {
    buf_put(user, bytes, n);
    return 0;
}

ErrCode lab_profile_save(const char *state_dir, const LabProfile *p, Err *err) {
    char path[1200];
    ErrCode code = os_make_folder(state_dir, err);
    if (!code) code = profile_path(state_dir, path, sizeof path, err);
    if (code) return code;
    const EngineMachine *m = &p->machine;
    json_t *o = json_pack("{s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:b,s:I,s:i,s:I}", "version", VERSION, "date", p->date, "kernel",
                          p->kernel, "cpu", p->cpu, "rung", p->rung, "dense_types", p->dense_types, "expert_types", p->expert_types,
                          "disk_path", p->disk_path, "file_system", p->file_system, "io", p->io, "direct", p->direct, "request_bytes",
                          (json_int_t)p->request_bytes, "depth", p->depth, "dram_probe_bytes", (json_int_t)p->dram_probe_bytes);
    json_t *rates = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:i}", "disk_bytes_per_s", m->disk_bytes_per_s, "disk_read_s", m->disk_read_s,
                              "dram_bytes_per_s", m->dram_bytes_per_s, "dense_weights_per_s", m->dense_weights_per_s,
                              "expert_weights_per_s", m->expert_weights_per_s, "batched_weights_per_s", m->batched_weights_per_s,
                              "threads", m->threads);
    Buf text = {0};
    bool good = o && rates && json_object_set(o, "rates", rates) == 0 &&
                json_dump_callback(o, put_text, &text, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) == 0;
    code = good && !text.failed ? os_write_file(path, text.ptr, text.len, err) : err_no_memory(err, 4096, "the machine's profile");
    buf_free(&text);
    json_decref(rates);
    json_decref(o);
    return code;
}

static void text_of(const json_t *o, const char *key, char *out, size_t size) {
    const char *s = json_string_value(json_object_get(o, key));
    snprintf(out, size, "%s", s ? s : "");
}

static double rate_of(const json_t *o, const char *key) {
    double v = json_number_value(json_object_get(o, key));
    return v > 0 && v < 1e18 ? v : 0;
}

static void read_profile(const json_t *o, LabProfile *p) {
    const json_t *rates = json_object_get(o, "rates");
    EngineMachine *m = &p->machine;
    text_of(o, "date", p->date, sizeof p->date);
    text_of(o, "kernel", p->kernel, sizeof p->kernel);
    text_of(o, "cpu", p->cpu, sizeof p->cpu);
    text_of(o, "rung", p->rung, sizeof p->rung);
    text_of(o, "dense_types", p->dense_types, sizeof p->dense_types);
    text_of(o, "expert_types", p->expert_types, sizeof p->expert_types);
    text_of(o, "disk_path", p->disk_path, sizeof p->disk_path);
    text_of(o, "file_system", p->file_system, sizeof p->file_system);
    text_of(o, "io", p->io, sizeof p->io);
    p->direct = json_is_true(json_object_get(o, "direct"));
    p->request_bytes = (uint32_t)rate_of(o, "request_bytes");
    p->depth = (int)rate_of(o, "depth");
    p->dram_probe_bytes = (uint64_t)rate_of(o, "dram_probe_bytes");
    m->disk_bytes_per_s = rate_of(rates, "disk_bytes_per_s");
    m->disk_read_s = rate_of(rates, "disk_read_s");
    m->dram_bytes_per_s = rate_of(rates, "dram_bytes_per_s");
    m->dense_weights_per_s = rate_of(rates, "dense_weights_per_s");
    m->expert_weights_per_s = rate_of(rates, "expert_weights_per_s");
    m->batched_weights_per_s = rate_of(rates, "batched_weights_per_s");
    m->threads = (int)rate_of(rates, "threads");
}

/* A profile is only a memory of a measurement: one that cannot be understood is as good as none, and is measured anew. */
ErrCode lab_profile_load(const char *state_dir, LabProfile *profile, bool *found, Err *err) {
    char path[1200];
    *found = false;
    memset(profile, 0, sizeof *profile);
    ErrCode code = profile_path(state_dir, path, sizeof path, err);
    if (code || !os_exists(path)) return code;
    Buf text = {0};
    code = os_read_file(path, 1 << 20, &text, err);
    if (code) return code;
    json_t *o = json_loadb(text.ptr, text.len, 0, NULL);
    buf_free(&text);
    if (json_is_object(o) && json_integer_value(json_object_get(o, "version")) == VERSION) {
        read_profile(o, profile);
        *found = profile->machine.dram_bytes_per_s > 0 && profile->machine.dense_weights_per_s > 0;
    } else {
        log_note("%s: not understood; the machine will be measured again", path);
    }
    json_decref(o);
    return ERR_OK;
}
