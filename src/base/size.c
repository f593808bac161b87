/* Sizes as people write them: binary units. */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool parse_size(const char *s, uint64_t *bytes) {
    if (!isdigit((unsigned char)*s) && *s != '.') return false;
    errno = 0;
    char *end;
    double n = strtod(s, &end);
    if (errno || end == s) return false;
    double unit = 1;
    switch (toupper((unsigned char)*end)) {
    case 'K': unit = 1024.0; break;
    case 'M': unit = 1024.0 * 1024; break;
    case 'G': unit = 1024.0 * 1024 * 1024; break;
    case 'T': unit = 1024.0 * 1024 * 1024 * 1024; break;
    default: break;
    }
    if (unit > 1) {
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B' || *end == 'b') end++;
    if (*end || !(n >= 0) || n * unit >= 9.2e18) return false;
    *bytes = (uint64_t)(n * unit);
    return true;
}

const char *format_size(uint64_t bytes, char out[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t u = 0;
    while (n >= 1024 && u + 1 < COUNT_OF(units)) {
        n /= 1024;
        u++;
    }
    snprintf(out, 32, u == 0 || n >= 100 ? "%.0f %s" : n >= 10 ? "%.1f %s" : "%.2f %s", n, units[u]);
    return out;
}
