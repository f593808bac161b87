/* How likely a token was, and which were the likeliest. */
#include "serve/job.h"

#include <math.h>

void serve_likely(const float *logits, int vocab, int32_t id, int n_top, ServeLikely *row) {
    double most = logits[0], sum = 0;
    for (int i = 1; i < vocab; i++)
        if (logits[i] > most) most = logits[i];
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - most);
    double whole = log(sum) + most;
    row[0] = (ServeLikely){(double)logits[id] - whole, id};
    int n = 0;
    for (int i = 0; i < vocab && n_top > 0; i++) {
        double logprob = (double)logits[i] - whole;
        if (n == n_top && logprob <= row[n].logprob) continue;
        int at = n < n_top ? ++n : n;
        for (; at > 1 && row[at - 1].logprob < logprob; at--) row[at] = row[at - 1];
        row[at] = (ServeLikely){logprob, i};
    }
    while (n < n_top) row[++n] = (ServeLikely){0, -1};
}
