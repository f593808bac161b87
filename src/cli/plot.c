/* sluice plot. */
#include "cli/commands.h"

ErrCode plot_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "plot is not in this version yet");
}
