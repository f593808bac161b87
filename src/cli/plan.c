/* sluice plan: what would lie in memory, and how fast it would run. Reads headers, never weights, or no file at all. */
#include "cli/plan.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/shape.h"
#include "cli/source.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>

enum { TOKENIZER_BYTES_PER_TOKEN = 200 }; /* of a real model's tokenizer, which a shape does not bring */

static const int ram_gib[] = {8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512};
static const QuantType file_types[] = {QUANT_Q8_0, QUANT_Q6_K, QUANT_Q5_K, QUANT_Q4_K, QUANT_IQ4_XS, QUANT_MXFP4,
                                       QUANT_Q3_K, QUANT_IQ3_XXS, QUANT_Q2_K};

/* ---- one row ---- */

static ErrCode fill_row(Planner *p, uint64_t ram, PlanRow *row, Err *err) {
    Err why = {0};
    memset(row, 0, sizeof *row);
    row->fits = engine_sketch_plan(p->sketch, ram, &row->plan, &row->chunk, &why) == ERR_OK;
    row->ram_bytes = row->plan.ram_bytes;
    snprintf(row->why, sizeof row->why, "%s", why.text);
    EngineWork work;
    engine_sketch_work(p->sketch, &work);
    double hit_rate = -1;
    ErrCode code = row->fits ? plan_hit_rate(p, &row->plan, &hit_rate, err) : ERR_OK;
    engine_predict(&work, &p->machine, &row->plan, row->chunk, p->position, hit_rate, &row->speed);
    EnginePrediction *s = &row->speed;
    if (!row->fits) s->decode_tok_s = s->prefill_tok_s = s->prefill_warm_tok_s = s->bound_tok_s = s->bound_serial_tok_s = 0;
    return code;
}

static ErrCode fill_by_ram(Planner *p, Err *err) {
    bool own = false;
    ErrCode code = ERR_OK;
    for (size_t i = 0; i < COUNT_OF(ram_gib) && !code; i++) {
        uint64_t ram = (uint64_t)ram_gib[i] << 30;
        if (!own && p->own.ram_bytes <= ram) {
            p->by_ram[p->n_ram++] = p->own;
            own = true;
            if (p->own.ram_bytes == ram) continue;
        }
        code = fill_row(p, ram, &p->by_ram[p->n_ram++], err);
    }
    if (!own) p->by_ram[p->n_ram++] = p->own;
    return code;
}

/* Last, for it changes the sketch. */
static ErrCode fill_by_type(Planner *p, Err *err) {
    ErrCode code = ERR_OK;
    for (size_t i = 0; i < COUNT_OF(file_types) && !code; i++) {
        if (!engine_sketch_retype(p->sketch, file_types[i])) continue;
        EngineWork work;
        engine_sketch_work(p->sketch, &work);
        p->types[p->n_types] = file_types[i];
        p->type_bytes[p->n_types] = work.record_bytes * work.layers * work.experts;
        code = fill_row(p, p->own.ram_bytes, &p->by_type[p->n_types++], err);
    }
    return code;
}

/* ---- the model ---- */

static ErrCode open_shape(Planner *p, sluice_options *options, uint64_t *elsewhere, Err *err) {
    ForgeOptions shape;
    ErrCode code = shape_options(p->o, &shape, err);
    if (code) return code;
    p->forge = forge_new(&shape, err);
    if (!p->forge) return err->code;
    code = forge_hollow(p->forge, p->hollow, &p->hollow_fd, err);
    p->name = opt_text(p->o, OPT_SHAPE, "");
    options->model = p->hollow;
    *elsewhere = (uint64_t)TOKENIZER_BYTES_PER_TOKEN * (shape.vocab ? shape.vocab : shape.shape.vocab);
    return code;
}

static ErrCode open_file(Planner *p, sluice_options *options, Err *err) {
    static const OptionId of_shapes[] = {OPT_QUANT, OPT_DENSE, OPT_LAYERS, OPT_VOCAB};
    for (size_t i = 0; i < COUNT_OF(of_shapes); i++)
        if (p->o->value[of_shapes[i]].source == SOURCE_FLAG)
            return err_set(err, ERR_USAGE, "--quant, --dense, --layers and --vocab describe a --shape; a file has its own");
    p->name = source_name(p->o);
    if (options->model) return ERR_OK;
    options->model = EMBEDDED_PATH;
    return embedded_locate(&options->embedded_offset, &options->embedded_bytes, err);
}

static ErrCode open_sketch(Planner *p, Err *err) {
    const Options *o = p->o;
    sluice_options options;
    uint64_t elsewhere = 0;
    sluice_options_init(&options);
    if (opt_given(o, OPT_SHAPE) && o->value[OPT_MODEL].source == SOURCE_FLAG)
        return err_set(err, ERR_USAGE, "--shape and -m exclude each other: plan for a file, or for a shape");
    options_into(o, &options);
    ErrCode code = opt_given(o, OPT_SHAPE) ? open_shape(p, &options, &elsewhere, err) : open_file(p, &options, err);
    if (code) return code;
    p->threads = opt_int(o, OPT_CORES, opt_int(o, OPT_THREADS, os_cpu_count()));
    p->sketch = engine_sketch_new(&options, p->threads, elsewhere, err);
    if (!p->sketch) return err->code;
    engine_sketch_work(p->sketch, &p->work);
    p->position = engine_sketch_ctx(p->sketch) / 2;
    return ERR_OK;
}

static void close_all(Planner *p) {
    lab_trace_free(p->trace);
    engine_sketch_free(p->sketch);
    if (p->hollow_fd >= 0) forge_hollow_close(p->hollow_fd);
    forge_free(p->forge);
}

ErrCode plan_command(const Options *o, Err *err) {
    static Planner p;
    p = (Planner){.o = o, .hollow_fd = -1};
    ErrCode code = open_sketch(&p, err);
    if (!code) code = plan_trace(&p, err);
    if (!code) code = plan_machine(&p, err);
    if (!code) code = fill_row(&p, opt_given(o, OPT_RAM) ? o->value[OPT_RAM].bytes : 0, &p.own, err);
    if (!code) code = fill_by_ram(&p, err);
    if (!code) code = fill_by_type(&p, err);
    if (!code && opt_on(o, OPT_JSON)) out_json(plan_json(&p));
    else if (!code) plan_print(&p);
    close_all(&p);
    return code;
}
