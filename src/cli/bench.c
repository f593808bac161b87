/* sluice bench. */
#include "cli/commands.h"

ErrCode bench_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "bench is not in this version yet");
}
