/* exp, sigmoid and softplus of single values. */
#include "kernels/kernels.h"
#include "kernels/poly.h"

float kernels_exp(float x) { return poly_exp(x); }
float kernels_sigmoid(float x) { return poly_sigmoid(x); }

/* log1p(e) for 0 <= e, in double with plain operations only: a library's log1p may differ from machine to machine.
 * u = 1 + e = 2^k * m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172. What the addition
 * 1 + e rounded away is put back to first order. */
static double log1p_positive(double e) {
    double u = 1.0 + e, lost = e - (u - 1.0);
    int k;
    double m = frexp(u, &k); /* [0.5, 1) */
    if (m < 0.70710678118654752) m *= 2.0, k--;
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    double series = 1.0 / 13;
    for (int i = 11; i >= 1; i -= 2) series = series * z + 1.0 / i;
    return 2.0 * s * series + (double)k * 0.69314718055994531 + lost / u;
}

float kernels_softplus(float x) {
    if (x > 20.0f) return x;
    return (float)log1p_positive((double)poly_exp(x));
}
