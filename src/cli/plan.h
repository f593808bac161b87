/* cli/plan: what `sluice plan` gathers before it prints. plan.c gathers, plan_machine.c finds the machine's rates,
 * plan_trace.c the hit rate of recorded text, plan_print.c prints. */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli/options.h"
#include "engine/engine.h"
#include "forge/forge.h"
#include "lab/lab.h"

#include <jansson.h>
#include <sluice.h>

/* The plan and the prediction for one amount of memory. */
typedef struct PlanRow {
    uint64_t ram_bytes;
    bool fits;
    char why[1024];      /* where it does not fit: the smallest --ram and the largest --ctx that would */
    sluice_plan plan;
    uint32_t chunk;
    EnginePrediction speed;
} PlanRow;

enum { PLAN_RAM_ROWS = 16, PLAN_TYPE_ROWS = 16 };

typedef struct Planner {
    const Options *o;
    const char *name;    /* of the shape or the model */
    /* a shape without a file */
    Forge *forge;
    char hollow[FORGE_PATH];
    int hollow_fd;       /* -1: none */
    EngineSketch *sketch;
    EngineWork work;
    int threads;
    uint32_t position;   /* at which the speed is predicted */
    LabTrace *trace;     /* whose hit rate is used; NULL: every expert equally often */
    CachePolicy policy;
    /* the machine */
    EngineMachine machine;
    const char *disk_from, *dram_from, *compute_from; /* "given", "measured now", "measured by doctor" */
    /* the answers */
    PlanRow own;
    PlanRow by_ram[PLAN_RAM_ROWS];
    int n_ram;
    PlanRow by_type[PLAN_TYPE_ROWS];
    QuantType types[PLAN_TYPE_ROWS];
    uint64_t type_bytes[PLAN_TYPE_ROWS]; /* of all experts */
    int n_types;
} Planner;

/* --disk, --dram, --cores; then what doctor found; then what is measured now. */
ErrCode plan_machine(Planner *p, Err *err);
/* The trace of -f, where there is one: read, and checked against the model. */
ErrCode plan_trace(Planner *p, Err *err);
/* What it hits with this plan's cache; -1: what is not known from a trace. */
ErrCode plan_hit_rate(const Planner *p, const sluice_plan *plan, double *hit_rate, Err *err);
void plan_print(const Planner *p);
json_t *plan_json(const Planner *p);

#endif
