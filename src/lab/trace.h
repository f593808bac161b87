/* Inside the room lab: the trace file.
 *
 *   header   "SLTRACE1", u32 version, u32 layers, u32 experts, u32 top_k, u32 slots, u64 record_bytes, char model[64]
 *   step     'S', u32 position, u32 n_tokens, u32 n_wants, then the wants
 *   want     u16 layer, u8 flags, u32 n_wanted, u32 wait_us,
 *            [n_tokens][top_k] picks, u8 where there are at most 256 experts, else u16,
 *            [n_tokens][top_k] weights, f16,
 *            (n_wanted + 7) / 8 bytes: one bit per different expert in ascending order, 1: it was in memory
 *   end      'E', u64 steps
 *
 * All numbers are little-endian. A file without its end was cut off.
 */
#ifndef LAB_TRACE_H
#define LAB_TRACE_H

#include "lab/lab.h"

#define TRACE_MAGIC "SLTRACE1"

enum {
    TRACE_VERSION = 1,
    TRACE_HEADER_BYTES = 8 + 5 * 4 + 8 + 64,
    TRACE_STEP_BYTES = 1 + 3 * 4,
    TRACE_WANT_BYTES = 2 + 1 + 4 + 4,
    TRACE_END_BYTES = 1 + 8,
    TRACE_HITS_KNOWN = 1, /* flag of a want */
    TRACE_LAYERS_MAX = 4096, TRACE_EXPERTS_MAX = 65536
};

static inline uint32_t trace_pick_bytes(uint32_t experts) { return experts <= 256 ? 1 : 2; }

#endif
