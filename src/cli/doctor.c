/* sluice doctor: what this machine can do, and what stands in its way. */
#include "cli/reading.h"
#include "cli/doctor.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/state.h"

#include <stdio.h>
#include <string.h>

static OsProgress bar;

static bool show_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    (void)user;
    if (!bar.what || strcmp(bar.what, what) != 0) {
        os_progress_end(&bar);
        os_progress_start(&bar, what, "steps", total);
    }
    os_progress_step(&bar, done);
    if (done == total) os_progress_end(&bar);
    return !os_interrupted();
}

/* ---- what the disk is measured with ---- */

static ErrCode use_model(Doctor *d, Err *err) {
    d->source.format = source_format(d->o, err);
    if (!d->source.format) return err->code;
    d->source.model = model_new(d->source.format, err);
    if (!d->source.model) return err->code;
    const FormatModel *format = d->source.format;
    d->paths = MEM_NEW(const char *, format->n_files);
    if (!d->paths) return err_no_memory(err, (uint64_t)format->n_files * sizeof *d->paths, "the files of the model");
    for (uint32_t i = 0; i < format->n_files; i++) d->paths[i] = format->files[i].path;
    d->n_paths = format->n_files;
    return ERR_OK;
}

static ErrCode use_scratch(Doctor *d, Err *err) {
    char state[1024];
    const char *dir = opt_text(d->o, OPT_DIR, state_folder(state, sizeof state));
    if (!dir) return err_set(err, ERR_USAGE, "there is no home folder to measure the disk of; name one with --dir, or a model with -m");
    Err why = {0};
    if (!opt_given(d->o, OPT_DIR) && os_make_folder(dir, &why))
        return err_set(err, why.code, "%s; name a folder of the disk to be measured with --dir, or a model with -m", why.text);
    OsPlace place;
    ErrCode code = os_place(dir, &place, err);
    if (code) return code;
    char size[32];
    if (place.free_bytes < 4 * (uint64_t)LAB_SCRATCH_BYTES)
        return err_set(err, ERR_IO, "%s: only %s are free, too little for a scratch file of 256 MiB; name another folder with --dir", dir,
                       format_size(place.free_bytes, size));
    snprintf(d->scratch_dir, sizeof d->scratch_dir, "%s", dir);
    snprintf(d->scratch, sizeof d->scratch, "%s/disk-probe.%llx.tmp", dir, (unsigned long long)os_now_ns());
    log_note("measuring the disk with a scratch file of 256 MiB in %s; -m MODEL measures where the model lies", dir);
    code = lab_scratch_file(d->scratch, LAB_SCRATCH_BYTES, err);
    d->paths = MEM_NEW(const char *, 1);
    if (!code && !d->paths) code = err_no_memory(err, sizeof *d->paths, "a path");
    if (code) return code;
    d->paths[0] = d->scratch;
    d->n_paths = 1;
    return ERR_OK;
}

/* ---- the checks ---- */

static void look(Doctor *d) {
    lab_facts("", &d->facts);
    const char *path = d->scratch[0] ? d->scratch : d->paths[0];
    d->site = (LabSite){.root = "", .path = d->scratch_dir[0] ? d->scratch_dir : path,
                        .lock_bytes = d->source.model ? d->source.model->dense_bytes : 0};
    d->has_site = os_place(path, &d->site.place, NULL) == ERR_OK;
    d->n_traps = lab_traps(&d->facts, d->has_site ? &d->site : NULL, d->traps);
    Err err = {0};
    DiskConfig config = {.backend = DISK_URING, .retries = -1};
    Disk *disk = disk_new(&config, &err);
    if (!disk) snprintf(d->uring_refused, sizeof d->uring_refused, "%.250s", err.text);
    disk_free(disk);
}

/* The disk is measured the way in which the engine would read it. */
static void choose_reading(Doctor *d) {
    Reading reading = reading_choose(d->o, d->scratch[0] ? d->scratch : d->paths[0], lab_request_bytes(d->source.model));
    d->backend = reading.backend;
    d->direct_mode = reading.direct;
}

/* The scratch file is there already, so the profile's own is not needed. */
static ErrCode measure(Doctor *d, Err *err) {
    LabMeasure how = {.model = d->source.model, .cpu = opt_text(d->o, OPT_CPU, "auto"), .precise = opt_on(d->o, OPT_PRECISE),
                      .threads = opt_int(d->o, OPT_THREADS, 0), .backend = d->backend, .progress = show_progress};
    if (!d->source.model) how.file = d->scratch;
    how.direct = d->direct_mode;
    ErrCode code = lab_measure(&how, &d->profile, err);
    os_progress_end(&bar);
    char state[1024];
    Err why = {0};
    if (code) return code;
    if (!state_folder(state, sizeof state)) snprintf(d->profile_note, sizeof d->profile_note, "not kept: there is no home folder");
    else if (lab_profile_save(state, &d->profile, &why)) snprintf(d->profile_note, sizeof d->profile_note, "not kept: %.200s", why.text);
    else snprintf(d->profile_note, sizeof d->profile_note, "kept in %.200s/machine.json for plan", state);
    return ERR_OK;
}

ErrCode doctor_command(const Options *o, Err *err) {
    static Doctor d;
    d.o = o;
    if (opt_given(o, OPT_DIR) && opt_given(o, OPT_MODEL))
        return err_set(err, ERR_USAGE, "--dir and -m exclude each other: with a model the disk is measured with its own files");
    ErrCode code = opt_given(o, OPT_MODEL) ? use_model(&d, err) : use_scratch(&d, err);
    if (!code) look(&d);
    if (!code) choose_reading(&d);
    if (!code) code = doctor_sweeps(&d, err);
    if (!code) code = measure(&d, err);
    if (!code && d.source.model) code = doctor_predict(&d, err);
    if (d.scratch[0]) (void)remove(d.scratch);
    if (!code && opt_on(o, OPT_JSON)) out_json(doctor_json(&d));
    else if (!code) doctor_print(&d);
    source_close(&d.source);
    mem_free(d.paths);
    return code;
}
