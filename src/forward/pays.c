/* Does something pay that may be left out? Looking ahead (lookahead.c) and draft tokens (the engine) ask. Believing it is not
 * enough: on a disk that is busy anyway, looking ahead costs. So it is measured while the model talks.
 *
 * A trial is a row of windows, with and without in the order ABBA, so that a run that becomes slower or faster by itself does not
 * decide. The first tokens of a window settle and are not counted. The two medians are compared with the uncertainty that their own
 * samples show: ranks 0.7 sqrt(n) to either side, about two standard deviations of the difference, whatever the distribution. As
 * long as the two ranges overlap the trial goes on; where they still do at its end there is no gain worth having.
 *
 * The verdict holds for a while, longer each time it is confirmed; then it is tried again, for texts and machines change. */
#include "forward/forward.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SETTLE = 2, LEAST_WINDOWS = 4, MOST_WINDOWS = 16, FIRST_REST = 256, LONGEST_REST = 8192 };
_Static_assert(FORWARD_PAYS_SAMPLES >= MOST_WINDOWS / 2 * (FORWARD_PAYS_WINDOW - SETTLE), "a whole trial fits");

static bool window_is_with(uint32_t window) { return window % 4 == 0 || window % 4 == 3; }

bool forward_pays_next(const ForwardPays *p) {
    return p->rest ? p->verdict == FORWARD_PAYS_YES : window_is_with(p->tokens / FORWARD_PAYS_WINDOW);
}

/* Ascending, as they come. */
static void keep_sample(ForwardPays *p, bool with, uint64_t ns) {
    uint64_t *sorted = p->ns[with];
    uint32_t i = p->n[with]++;
    for (; i > 0 && sorted[i - 1] > ns; i--) sorted[i] = sorted[i - 1];
    sorted[i] = ns;
}

typedef struct Median {
    double low, middle, high;
} Median;

static Median median(const uint64_t *sorted, uint32_t n) {
    double reach = 0.7 * sqrt(n), middle = (n - 1) / 2.0;
    uint32_t low = (uint32_t)fmax(0, floor(middle - reach)), high = (uint32_t)fmin(n - 1, ceil(middle + reach));
    uint32_t below = (n - 1) / 2, above = n / 2;
    return (Median){(double)sorted[low], 0.5 * (double)(sorted[below] + sorted[above]), (double)sorted[high]};
}

static void end_trial(ForwardPays *p, ForwardVerdict verdict) {
    if (verdict != p->verdict || p->rest_next == 0) p->rest_next = FIRST_REST;
    else if (p->rest_next < LONGEST_REST) p->rest_next *= 2;
    p->verdict = verdict;
    p->rest = p->rest_next;
    p->tokens = p->n[0] = p->n[1] = 0;
}

static void judge(ForwardPays *p) {
    Median without = median(p->ns[0], p->n[0]), with = median(p->ns[1], p->n[1]);
    p->gain = without.middle > 0 ? (without.middle - with.middle) / without.middle : 0;
    p->certain = with.high < without.low || with.low > without.high;
    if (p->certain) end_trial(p, with.high < without.low ? FORWARD_PAYS_YES : FORWARD_PAYS_NO);
    else if (p->tokens == MOST_WINDOWS * FORWARD_PAYS_WINDOW) end_trial(p, FORWARD_PAYS_NO);
}

bool forward_pays_token(ForwardPays *p, uint64_t ns) {
    if (p->rest) {
        p->rest--;
        return false;
    }
    if (p->tokens % FORWARD_PAYS_WINDOW >= SETTLE) keep_sample(p, forward_pays_next(p), ns);
    p->tokens++;
    if (p->tokens % (LEAST_WINDOWS * FORWARD_PAYS_WINDOW) == 0) judge(p);
    return p->rest > 0;
}

void forward_pays_text(const ForwardPays *p, char *text, size_t size) {
    double percent = 100 * fabs(p->gain);
    if (p->verdict == FORWARD_PAYS_UNKNOWN) snprintf(text, size, "auto: being measured");
    else if (p->verdict == FORWARD_PAYS_YES) snprintf(text, size, "auto: on, it saves %.1f %%", percent);
    else if (!p->certain) snprintf(text, size, "auto: switched off, no gain beyond the noise");
    else snprintf(text, size, "auto: switched off, it cost %.1f %%", percent);
}
