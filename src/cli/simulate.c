/* sluice simulate. */
#include "cli/commands.h"

ErrCode simulate_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "simulate is not in this version yet");
}
