/* sluice trace. */
#include "cli/commands.h"

ErrCode trace_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "trace is not in this version yet");
}
