/* Where the time of a step goes: every moment of the calling thread belongs to one section. */
#include "forward/inside.h"

#include <string.h>

Section forward_enter(Forward *f, Section section) {
    uint64_t now = os_now_ns();
    Section before = f->section;
    f->section_ns[before] += now - f->section_since;
    f->section_since = now;
    f->section = section;
    return before;
}

uint64_t forward_spent(Forward *f) {
    forward_enter(f, f->section);
    return f->section_ns[SECTION_DENSE] + f->section_ns[SECTION_EXPERT] + f->section_ns[SECTION_STORE];
}

void forward_times(const Forward *f, ForwardTimes *times) {
    *times = (ForwardTimes){.dense_ns = f->section_ns[SECTION_DENSE],
                            .expert_ns = f->section_ns[SECTION_EXPERT],
                            .store_ns = f->section_ns[SECTION_STORE]};
}

void forward_times_reset(Forward *f) {
    memset(f->section_ns, 0, sizeof f->section_ns);
    f->ahead.guesses = (ForwardGuesses){0, 0};
}
