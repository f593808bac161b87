/* sluice synth. */
#include "cli/commands.h"

ErrCode synth_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "synth is not in this version yet");
}
