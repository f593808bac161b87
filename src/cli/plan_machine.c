/* The rates that a prediction needs. What is not given is taken from the profile that doctor left, where that was made on this machine
 * with number formats of this model; what is still missing is measured, which takes a few seconds. */
#include "cli/reading.h"
#include "cli/plan.h"
#include "cli/state.h"
#include "lab/lab.h"

#include <string.h>

/* Was it measured on this machine, with these threads, and with the formats of this model? */
static bool compute_fits(const Planner *p, const LabProfile *profile, const char *rung, int threads) {
    const ModelLayer *l = &engine_sketch_model(p->sketch)->layers[0];
    const ModelMat *dense[MODEL_DENSE_MATS];
    model_layer_mats(l, dense);
    return lab_profile_fits(profile, rung, threads) && strstr(profile->expert_types, quant_traits(l->expert[0].type)->name) &&
           strstr(profile->dense_types, quant_traits(dense[0]->type)->name);
}

/* Was the disk measured on which the model lies? A shape lies nowhere yet. */
static bool disk_fits(const Planner *p, const LabProfile *profile) {
    const Model *model = engine_sketch_model(p->sketch);
    OsPlace measured, here;
    if (!(profile->machine.disk_bytes_per_s > 0)) return false;
    if (p->forge) return true;
    return os_place(profile->disk_path, &measured, NULL) == ERR_OK &&
           os_place(model->format->files[model->records[0].file].path, &here, NULL) == ERR_OK && measured.major == here.major &&
           measured.minor == here.minor;
}

static void take_compute(EngineMachine *m, const EngineMachine *from) {
    m->dense_weights_per_s = from->dense_weights_per_s;
    m->expert_weights_per_s = from->expert_weights_per_s;
    m->batched_weights_per_s = from->batched_weights_per_s;
    m->threads = from->threads;
}

static ErrCode measure_compute(Planner *p, const Kernels *kernels, int threads, bool need_dram, Err *err) {
    LabProbeConfig config = {.kernels = kernels, .precise = opt_on(p->o, OPT_PRECISE), .threads = threads};
    lab_formats(engine_sketch_model(p->sketch), &config.formats);
    log_note("measuring this machine's arithmetic%s; doctor would remember it", need_dram ? " and memory" : "");
    LabProbe *probe = lab_probe_new(&config, err);
    if (!probe) return err->code;
    if (need_dram) p->machine.dram_bytes_per_s = lab_probe_dram(probe);
    p->machine.dense_weights_per_s = lab_probe_dense(probe);
    p->machine.expert_weights_per_s = lab_probe_expert(probe);
    p->machine.batched_weights_per_s = lab_probe_batched(probe);
    p->machine.threads = lab_probe_threads(probe);
    lab_probe_free(probe);
    p->compute_from = "measured now";
    if (need_dram) p->dram_from = "measured now";
    return ERR_OK;
}

static ErrCode measure_disk(Planner *p, Err *err) {
    const Model *model = engine_sketch_model(p->sketch);
    if (p->forge)
        return err_set(err, ERR_USAGE, "how fast is the disk? Give --disk RATE, as --disk 7GB/s, or let `sluice doctor` measure this one");
    log_note("measuring the disk under the model");
    const FormatFile *file = &model->format->files[model->records[0].file];
    uint32_t request = lab_request_bytes(model);
    Reading reading = reading_choose(p->o, file->path, request); /* as the engine would */
    DiskProbeConfig config = {.paths = &file->path, .n_paths = 1, .backend = reading.backend, .direct = reading.direct,
                              .memory_bytes = UINT64_C(32) << 20, .again = true};
    DiskProbe *probe = disk_probe_new(&config, err);
    if (!probe) return err->code;
    LabDisk disk;
    ErrCode code = lab_disk(probe, request, 1, &disk, err);
    disk_probe_free(probe);
    if (!code && !(disk.bytes_per_s > 0))
        return err_set(err, ERR_USAGE, "%s is too small to measure the disk with; give --disk RATE, as --disk 7GB/s", file->path);
    p->machine.disk_bytes_per_s = disk.bytes_per_s;
    p->machine.disk_read_s = disk.read_s;
    p->disk_from = "measured now";
    return code;
}

/* A described disk: one read alone takes the time of its bytes and a tenth of a millisecond, as drives of this kind do. */
static void describe_disk(Planner *p, double rate) {
    p->machine.disk_bytes_per_s = rate;
    p->machine.disk_read_s = 1e-4 + (double)p->work.record_bytes / 3 / rate;
    p->disk_from = "given";
}

static void scale_to_cores(Planner *p, int cores) {
    EngineMachine *m = &p->machine;
    double factor = (double)cores / (m->threads > 0 ? m->threads : 1);
    m->dense_weights_per_s *= factor;
    m->expert_weights_per_s *= factor;
    m->batched_weights_per_s *= factor;
    m->threads = cores;
}

ErrCode plan_machine(Planner *p, Err *err) {
    char state[1024];
    LabProfile profile;
    bool found = false;
    double disk = p->o->value[OPT_DISK].real, dram = p->o->value[OPT_DRAM].real; /* 0: not given */
    const Kernels *kernels;
    ErrCode code = kernels_choose(opt_text(p->o, OPT_CPU, NULL), &kernels, err);
    if (!code && state_folder(state, sizeof state)) code = lab_profile_load(state, &profile, &found, err);
    if (code) return code;
    char cpu[128];
    lab_cpu_name("", cpu, sizeof cpu);
    found = found && strcmp(profile.cpu, cpu) == 0; /* the home folder may be that of another machine */
    int here = opt_int(p->o, OPT_THREADS, os_cpu_count());
    p->disk_from = p->dram_from = p->compute_from = "measured by doctor";
    bool fits = found && compute_fits(p, &profile, kernels->name, here);
    if (found) p->machine = profile.machine;
    if (!fits) code = measure_compute(p, kernels, here, dram <= 0 && !found, err);
    else take_compute(&p->machine, &profile.machine);
    if (code) return code;
    if (dram > 0) {
        p->machine.dram_bytes_per_s = dram;
        p->dram_from = "given";
    }
    if (disk > 0) describe_disk(p, disk);
    else if (!found || !disk_fits(p, &profile)) code = measure_disk(p, err);
    if (opt_given(p->o, OPT_CORES)) scale_to_cores(p, opt_int(p->o, OPT_CORES, 1));
    return code;
}
