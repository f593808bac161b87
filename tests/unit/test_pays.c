/* Looking ahead switches itself off where it does not pay: the bookkeeping, on times that a test makes up. */
#include "support/support.h"

#include "forward/forward.h"

#include <string.h>

typedef struct Times {
    uint64_t state;
    double base_ns, noise;  /* a token without; uniform noise of so large a share to either side */
    double gain;            /* share that looking ahead saves */
    double drift;           /* growth per token, of both */
    int token;
} Times;

static double uniform(Times *t) {
    t->state = t->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(t->state >> 33) / (double)(UINT64_C(1) << 31);
}

static uint64_t time_of(Times *t, bool ahead) {
    double ns = t->base_ns * (1 + t->drift * t->token++) * (1 + t->noise * (2 * uniform(t) - 1));
    return (uint64_t)(ahead ? ns * (1 - t->gain) : ns);
}

/* Until a trial ends; returns how many tokens it took. */
static int one_trial(ForwardPays *p, Times *t) {
    int n = 0;
    for (bool ended = false; !ended; n++) {
        assert_true(n < 1 << 20);
        bool ahead = forward_pays_next(p);
        ended = forward_pays_token(p, time_of(t, ahead));
    }
    return n;
}

static Times quiet(double gain) { return (Times){.state = 7, .base_ns = 2e7, .noise = 0.02, .gain = gain}; }

static void a_gain_beyond_the_noise_keeps_it_on(void **state) {
    (void)state;
    ForwardPays p = {0};
    Times t = quiet(0.07);
    assert_int_equal(p.verdict, FORWARD_PAYS_UNKNOWN);
    assert_int_equal(one_trial(&p, &t), 4 * FORWARD_PAYS_WINDOW);
    assert_int_equal(p.verdict, FORWARD_PAYS_YES);
    assert_true(p.gain > 0.06 && p.gain < 0.08);
    assert_true(forward_pays_next(&p));
    char text[64];
    forward_pays_text(&p, text, sizeof text);
    assert_non_null(strstr(text, "on, it saves 7."));
}

static void a_cost_switches_it_off(void **state) {
    (void)state;
    ForwardPays p = {0};
    Times t = quiet(-0.05);
    assert_int_equal(one_trial(&p, &t), 4 * FORWARD_PAYS_WINDOW);
    assert_int_equal(p.verdict, FORWARD_PAYS_NO);
    assert_false(forward_pays_next(&p));
    char text[64];
    forward_pays_text(&p, text, sizeof text);
    assert_non_null(strstr(text, "off, it cost"));
}

/* Of 200 runs in which it changes nothing, few may believe otherwise; and none may look for ever. */
static void noise_alone_does_not_keep_it_on(void **state) {
    (void)state;
    int believed = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        ForwardPays p = {0};
        Times t = {.state = seed * 977, .base_ns = 1e7, .noise = 0.3};
        assert_true(one_trial(&p, &t) <= 16 * FORWARD_PAYS_WINDOW);
        believed += p.verdict == FORWARD_PAYS_YES;
    }
    assert_true(believed < 20);
    ForwardPays p = {0};
    Times same = {.base_ns = 1e7};
    assert_int_equal(one_trial(&p, &same), 16 * FORWARD_PAYS_WINDOW);
    assert_int_equal(p.verdict, FORWARD_PAYS_NO);
    char text[64];
    forward_pays_text(&p, text, sizeof text);
    assert_non_null(strstr(text, "no gain beyond the noise"));
}

static void a_context_that_grows_does_not_decide(void **state) {
    (void)state;
    for (int rising = 0; rising < 2; rising++) {
        int believed = 0;
        for (uint64_t seed = 1; seed <= 50; seed++) {
            ForwardPays p = {0};
            Times t = {.state = seed * 31, .base_ns = 1e7, .noise = 0.05, .drift = rising ? 0.002 : -0.0015};
            one_trial(&p, &t);
            believed += p.verdict == FORWARD_PAYS_YES;
        }
        assert_true(believed < 8);
    }
}

static void the_verdict_is_tried_again_and_can_change(void **state) {
    (void)state;
    ForwardPays p = {0};
    Times t = quiet(0.1);
    one_trial(&p, &t);
    int first = one_trial(&p, &t), second = one_trial(&p, &t);
    assert_int_equal(p.verdict, FORWARD_PAYS_YES);
    assert_true(first > 200 && second > 2 * first - 4 * FORWARD_PAYS_WINDOW - 1); /* what is confirmed rests longer */
    t.gain = -0.1; /* another text, another disk */
    one_trial(&p, &t);
    assert_int_equal(p.verdict, FORWARD_PAYS_NO);
    assert_int_equal(p.rest, first - 4 * FORWARD_PAYS_WINDOW); /* what has changed is looked at again soon */
    t.gain = 0.1;
    one_trial(&p, &t);
    assert_int_equal(p.verdict, FORWARD_PAYS_YES);
}

/* While it rests, nothing alternates: with the verdict no, not one token looks ahead. */
static void between_trials_the_verdict_holds(void **state) {
    (void)state;
    for (int gains = 0; gains < 2; gains++) {
        ForwardPays p = {0};
        Times t = quiet(gains ? 0.1 : -0.1);
        one_trial(&p, &t);
        for (int i = 0; i < 256; i++) {
            assert_int_equal(forward_pays_next(&p), gains);
            forward_pays_token(&p, time_of(&t, gains));
        }
        assert_true(forward_pays_next(&p)); /* the next trial begins with it */
    }
}

int main(void) {
    const struct CMUnitTest pays[] = {
        cmocka_unit_test(a_gain_beyond_the_noise_keeps_it_on),
        cmocka_unit_test(a_cost_switches_it_off),
        cmocka_unit_test(noise_alone_does_not_keep_it_on),
        cmocka_unit_test(a_context_that_grows_does_not_decide),
        cmocka_unit_test(the_verdict_is_tried_again_and_can_change),
        cmocka_unit_test(between_trials_the_verdict_holds),
    };
    return RUN_TESTS(pays);
}
