/* How likely a token was, and which were the likeliest. */
#include "answer/inside.h"

#include <math.h>

void answer_likely(const float *logits, int vocab, int32_t id, int n_top, AnswerLikely *row) {
    double most = (double)logits[0], sum = 0;
    for (int i = 1; i < vocab; i++)
        if ((double)logits[i] > most) most = (double)logits[i];
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - most);
    double whole = log(sum) + most; // cppcheck-suppress invalidFunctionArg ; the likeliest has put 1 into the sum
    row[0] = (AnswerLikely){(double)logits[id] - whole, id};
    int n = 0;
    for (int i = 0; i < vocab && n_top > 0; i++) {
        double logprob = (double)logits[i] - whole;
        if (n == n_top && logprob <= row[n].logprob) continue;
        int at = n < n_top ? ++n : n;
        for (; at > 1 && row[at - 1].logprob < logprob; at--) row[at] = row[at - 1];
        row[at] = (AnswerLikely){logprob, i};
    }
    while (n < n_top) row[++n] = (AnswerLikely){0, -1};
}
