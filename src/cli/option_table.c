/* The table of options, made from the list. */
#include "cache/cache.h"
#include "cli/options.h"
#include "disk/disk.h"
#include "kernels/kernels.h"

#define ANY 2147483647.0

/* Where the value goes: its place and its size, the latter to be checked against the kind of the option. */
#define OPTIONS_FIELD(name) INTO_OPTIONS, offsetof(sluice_options, name), sizeof((sluice_options){0}.name)
#define SAMPLING_FIELD(name) INTO_SAMPLING, offsetof(sluice_sampling, name), sizeof((sluice_sampling){0}.name)
#define NO_FIELD INTO_NOTHING, 0, 0

const OptionSpec option_table[] = {
#define OPTION(ID, ...) {OPT_##ID, __VA_ARGS__},
#include "cli/option_list.h"
#undef OPTION
};
const size_t option_table_len = COUNT_OF(option_table);
