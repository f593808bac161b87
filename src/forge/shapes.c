/* The shapes of real models, one row each, as their config.json gives them; and three tiny ones, one of each architecture, to try
 * things with. */
#include "forge/forge.h"

#include <string.h>

/* clang-format off */
/* Columns: name, architecture; layers, hidden, vocabulary; heads, KV heads, their width; delta net K and V heads; experts, of these
 * per token, width of one, of the shared one; unused feed-forward length; context, rope base. */
static const ForgeShape shapes[] = {
    {"qwen3.5-397b-a17b",   "qwen35moe", 60, 4096, 248320, 32, 2, 256, 16, 64, 512, 10, 1024, 1024,     0, 262144, 1e7},
    {"qwen3.5-122b-a10b",   "qwen35moe", 48, 3072, 248320, 32, 2, 256, 16, 64, 256,  8, 1024, 1024,     0, 262144, 1e7},
    {"qwen3.5-35b-a3b",     "qwen35moe", 40, 2048, 248320, 16, 2, 256, 16, 32, 256,  8,  512,  512,     0, 262144, 1e7},
    {"qwen3.6-35b-a3b",     "qwen35moe", 40, 2048, 248320, 16, 2, 256, 16, 32, 256,  8,  512,  512,     0, 262144, 1e7},
    {"qwen3-next-80b-a3b",  "qwen3next", 48, 2048, 151936, 16, 2, 256, 16, 32, 512, 10,  512,  512,  5120, 262144, 1e7},
    {"qwen3-coder-next",    "qwen3next", 48, 2048, 151936, 16, 2, 256, 16, 32, 512, 10,  512,  512,  5120, 262144, 5e6},
    {"qwen3-coder-480b-a35b", "qwen3moe", 62, 6144, 151936, 96, 8, 128, 0, 0, 160,  8, 2560,    0,  8192, 262144, 1e7},
    {"qwen3-235b-a22b",     "qwen3moe",  94, 4096, 151936, 64, 4, 128,  0,  0, 128,  8, 1536,    0, 12288,  40960, 1e6},
    {"qwen3-235b-a22b-2507", "qwen3moe", 94, 4096, 151936, 64, 4, 128,  0,  0, 128,  8, 1536,    0, 12288, 262144, 5e6},
    {"qwen3-30b-a3b",       "qwen3moe",  48, 2048, 151936, 32, 4, 128,  0,  0, 128,  8,  768,    0,  6144,  40960, 1e6},
    {"qwen3-30b-a3b-2507",  "qwen3moe",  48, 2048, 151936, 32, 4, 128,  0,  0, 128,  8,  768,    0,  6144, 262144, 1e7},
    {"qwen3-coder-30b-a3b", "qwen3moe",  48, 2048, 151936, 32, 4, 128,  0,  0, 128,  8,  768,    0,  6144, 262144, 1e7},
    {"tiny-qwen35moe",      "qwen35moe",  4,  256,    512,  4, 2,  64,  2,  4,  32,  4,  256,  256,     0,   4096, 1e7},
    {"tiny-qwen3next",      "qwen3next",  4,  256,    512,  4, 2,  64,  2,  4,  32,  4,  256,  256,   512,   4096, 1e7},
    {"tiny-qwen3moe",       "qwen3moe",   4,  256,    512,  4, 2,  64,  0,  0,  32,  4,  256,    0,   512,   4096, 1e6},
};
/* clang-format on */

const ForgeShape *forge_shape_at(size_t i) { return i < COUNT_OF(shapes) ? &shapes[i] : NULL; }

const ForgeShape *forge_shape(const char *name) {
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        if (strcmp(shapes[i].name, name) == 0) return &shapes[i];
    return NULL;
}
