/* sluice plan. */
#include "cli/commands.h"

ErrCode plan_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "plan is not in this version yet");
}
