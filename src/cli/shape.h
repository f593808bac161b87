/* cli/shape: --shape and what goes with it, for synth and plan. */
#ifndef CLI_SHAPE_H
#define CLI_SHAPE_H

#include "cli/options.h"
#include "forge/forge.h"

/* --shape, --quant, --dense, --layers, --vocab, --skew, --seed. An unknown shape or type is refused with all that are known. */
ErrCode shape_options(const Options *o, ForgeOptions *out, Err *err);
/* A number format that weights can have. */
ErrCode shape_type(const char *flag, const char *name, QuantType *type, Err *err);

#endif
