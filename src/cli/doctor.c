/* sluice doctor. */
#include "cli/commands.h"

ErrCode doctor_command(const Options *o, Err *err) {
    (void)o;
    return err_set(err, ERR_USAGE, "doctor is not in this version yet");
}
