/* cli/state: the folder that remembers what was measured of disks and machine. */
#ifndef CLI_STATE_H
#define CLI_STATE_H

#include "base/base.h"

/* $XDG_STATE_HOME/sluice, else ~/.local/state/sluice; it need not exist. NULL: no home folder. */
const char *state_folder(char *out, size_t size);

#endif
