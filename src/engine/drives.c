/* From the options --io and --direct, and from where the experts lie, to the disk that reads them. */
#include "engine/inside.h"

#include <stdio.h>
#include <string.h>

ErrCode engine_check_io(const sluice_options *o, DiskChoose *wish, Err *err) {
    *wish = (DiskChoose){.state_dir = o->state_dir, .memory_bytes = o->ram_bytes / 16};
    return disk_words(o->io, o->direct, wish, err);
}

/* What there is to read: from which file most, how much in all, how much at a time. */
static ErrCode describe_reads(const sluice_model *m, DiskChoose *wish, Err *err) {
    const ModelShape *s = &m->model->shape;
    size_t n = (size_t)model_expert_layers(m->model) * s->n_experts * STORE_PARTS;
    uint64_t *bytes = MEM_NEW(uint64_t, m->format->n_files); /* [n_files] */
    if (!bytes) return err_no_memory(err, m->format->n_files * sizeof *bytes, "the table of files");
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const DiskRange *p = &m->model->records[i];
        bytes[p->file] += p->bytes;
        wish->bytes += p->bytes;
        if (bytes[p->file] > bytes[most]) most = p->file;
    }
    mem_free(bytes);
    wish->path = m->format->files[most].path;
    wish->read_bytes = n ? (uint32_t)(wish->bytes / n) : 0;
    return ERR_OK;
}

ErrCode engine_open_disk(sluice_model *m, Err *err) {
    DiskChoose wish;
    DiskChoice choice;
    ErrCode code = engine_check_io(&m->options, &wish, err);
    if (!code) code = describe_reads(m, &wish, err);
    if (code) return code;
    disk_choose(&wish, &choice);
    snprintf(m->io_why, sizeof m->io_why, "%s", choice.why);
    DiskConfig config = {.backend = choice.backend, .direct = choice.direct, .retries = -1};
    /* threads that wait for one drive must leave some to another */
    if (m->options.mirror && choice.backend == DISK_THREADS) config.depth = 16;
    m->disk = disk_new(&config, err);
    if (!m->disk) return err->code;
    uint32_t id; /* the number that the format gives it */
    for (uint32_t i = 0; i < m->format->n_files && !code; i++) code = disk_add_file(m->disk, m->format->files[i].path, &id, err);
    return code;
}

/* ---- copies -------------------------------------------------------------------------------------------------------- */

/* One entry of --mirror: a folder with files of the same names, or a file of the same name. At least one must be there. */
static ErrCode add_mirror(sluice_model *m, const char *place, Err *err) {
    bool folder = os_is_dir(place);
    const char *place_name = strrchr(place, '/');
    uint32_t found = 0;
    for (uint32_t i = 0; i < disk_files(m->disk); i++) {
        const char *path = disk_file_path(m->disk, i), *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
        char copy[4096];
        int n = snprintf(copy, sizeof copy, folder ? "%s/%s" : "%s", place, name);
        if (n < 0 || (size_t)n >= sizeof copy) return err_set(err, ERR_USAGE, "--mirror %s: the path is too long", place);
        if (folder ? !os_exists(copy) : disk_files(m->disk) > 1 && strcmp(place_name ? place_name + 1 : place, name) != 0) continue;
        ErrCode code = disk_add_copy(m->disk, i, copy, err);
        if (code) return err_prefix(err, "--mirror");
        found++;
    }
    if (found == 0) return err_set(err, ERR_USAGE, "--mirror %s: it has no file of this model", place);
    if (found < disk_files(m->disk))
        log_note("--mirror %s: copies of %u of %u files; the others are read where they are", place, found, disk_files(m->disk));
    return ERR_OK;
}

ErrCode engine_add_mirrors(sluice_model *m, Err *err) {
    ErrCode code = ERR_OK;
    for (const char *at = m->options.mirror; at && *at && !code;) {
        size_t n = strcspn(at, ",");
        char *place = mem_strndup(at, n);
        if (!place) return err_no_memory(err, n + 1, "a path");
        if (n > 0) code = add_mirror(m, place, err);
        mem_free(place);
        at += n + (at[n] == ',');
    }
    return code;
}

int sluice_drives(const sluice_model *m, sluice_drive *out, int max) {
    uint32_t n = disk_drives(m->disk);
    for (uint32_t i = 0; i < n && (int)i < max; i++) {
        DiskDriveInfo v;
        disk_drive_info(m->disk, i, &v);
        out[i] = (sluice_drive){.name = v.name, .files = (int)v.files, .reads = v.reads, .bytes = v.bytes, .bytes_per_s = v.bytes_per_s};
    }
    return (int)n;
}
