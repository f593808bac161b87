/* Sizes and rates as people write them: binary units, and decimal ones. */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool parse_rate(const char *s, double *bytes_per_s) {
    if (!isdigit((unsigned char)*s) && *s != '.') return false;
    char *end;
    double n = strtod(s, &end), unit = 1;
    while (*end == ' ') end++;
    const char *letters = "KMGT", *at = *end ? strchr(letters, toupper((unsigned char)*end)) : NULL;
    if (!at) return false;
    double base = end[1] == 'i' ? 1024 : 1000;
    for (const char *l = letters; l <= at; l++) unit *= base;
    end += base > 1000 ? 2 : 1;
    if (*end == 'B' || *end == 'b') end++;
    if (strcmp(end, "/s") == 0) end += 2;
    if (*end || !(n > 0) || n * unit >= 1e15) return false;
    *bytes_per_s = n * unit;
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
