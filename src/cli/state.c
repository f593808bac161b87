/* Where what was measured is kept between runs. */
#include "cli/state.h"

#include <stdio.h>
#include <stdlib.h>

const char *state_folder(char *out, size_t size) {
    const char *base = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (base && base[0] == '/') n = snprintf(out, size, "%s/sluice", base);
    else if (home && *home) n = snprintf(out, size, "%s/.local/state/sluice", home);
    else return NULL;
    return n > 0 && (size_t)n < size ? out : NULL;
}
