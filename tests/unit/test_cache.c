/* The cache without a store: whatever is asked of it, in any order, for every policy; and small cases worked out by hand. */
#include "support/support.h"

#include "base/base.h"
#include "cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t random_next(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static Cache *make(CachePolicy policy, uint32_t slots, uint32_t groups, uint32_t per_group, uint32_t floor) {
    Err err = {0};
    CacheConfig config = {.policy = policy, .n_slots = slots, .n_groups = groups, .per_group = per_group, .floor = floor};
    Cache *c = cache_new(&config, &err);
    if (!c) fail_msg("%s: %s", cache_policy_name(policy), err.text);
    return c;
}

/* ---- a book kept beside the cache ---------------------------------------------------------------------------------- */

enum { SLOTS = 40, GROUPS = 5, PER_GROUP = 16, RECORDS = GROUPS * PER_GROUP, FLOOR = 4 };

typedef struct Book {
    Cache *c;
    int32_t slot_of[RECORDS], record_of[SLOTS];
    int pins[SLOTS];
    bool out[SLOTS];
    int held[GROUPS];
    uint32_t in_use, limit, floor;
    uint64_t decisions; /* a hash of all answers */
    uint64_t random;
} Book;

static void decided(Book *b, int64_t what) { b->decisions = (b->decisions ^ (uint64_t)what) * 0x100000001b3u; }

static void book_forget(Book *b, int32_t slot) {
    int32_t record = b->record_of[slot];
    if (record == CACHE_NONE) return;
    b->slot_of[record] = CACHE_NONE;
    b->record_of[slot] = CACHE_NONE;
    b->held[record / PER_GROUP]--;
}

static void on_given_up(void *user, int32_t slot) {
    Book *b = user;
    assert_false(b->out[slot]);
    assert_int_equal(b->pins[slot], 0);
    assert_int_equal(cache_record(b->c, slot), CACHE_NONE);
    book_forget(b, slot);
    b->out[slot] = true;
    b->in_use--;
    decided(b, slot);
}

static void on_back(void *user, int32_t slot) {
    Book *b = user;
    assert_true(b->out[slot]);
    b->out[slot] = false;
    b->in_use++;
    decided(b, slot);
}

static void check(const Book *b) {
    for (int32_t r = 0; r < RECORDS; r++) assert_int_equal(cache_find(b->c, r), b->slot_of[r]);
    for (int32_t s = 0; s < SLOTS; s++) assert_int_equal(cache_record(b->c, s), b->record_of[s]);
    assert_int_equal(cache_slots_in_use(b->c), b->in_use);
}

static int32_t some(Book *b, int32_t n) { return (int32_t)(random_next(&b->random) % (uint64_t)n); }

static bool any_free(const Book *b) {
    for (int s = 0; s < SLOTS; s++)
        if (!b->out[s] && b->record_of[s] == CACHE_NONE) return true;
    return false;
}

static void take(Book *b, int32_t record, uint32_t uses) {
    int32_t evicted = 12345, group = record / PER_GROUP;
    bool was_free = any_free(b);
    int32_t slot = cache_take(b->c, record, uses, &evicted);
    decided(b, slot);
    decided(b, evicted);
    if (slot == CACHE_NONE) {
        assert_false(was_free);
        if (uses == 0) return; /* it may be that only guesses are left */
        for (int s = 0; s < SLOTS; s++) {
            int32_t r = b->record_of[s];
            if (r == CACHE_NONE || b->pins[s]) continue;
            assert_true(r / PER_GROUP != group && b->held[r / PER_GROUP] <= (int)b->floor);
        }
        return;
    }
    assert_false(b->out[slot]);
    assert_int_equal(b->pins[slot], 0); /* a pinned slot is never given away */
    assert_int_equal(b->record_of[slot], evicted);
    if (was_free) assert_int_equal(evicted, CACHE_NONE);
    if (evicted != CACHE_NONE && evicted / PER_GROUP != group) assert_true(b->held[evicted / PER_GROUP] > (int)b->floor);
    book_forget(b, slot);
    b->slot_of[record] = slot;
    b->record_of[slot] = record;
    b->held[group]++;
    b->pins[slot] = 1;
}

static void one_operation(Book *b) {
    int32_t record = some(b, RECORDS), slot = b->slot_of[record];
    uint32_t uses = (uint32_t)some(b, 6);
    static const CacheLimit plain;
    CacheLimit told = plain;
    told.user = b;
    told.given_up = on_given_up;
    told.back_in_use = on_back;
    switch (some(b, 16)) {
    case 0: cache_step(b->c, (uint32_t)some(b, 3) * 7 + 1); break;
    case 1: {
        uint32_t n = (uint32_t)some(b, PER_GROUP) + 1;
        cache_want(b->c, n, n + (uint64_t)some(b, 40));
        break;
    }
    case 2:
        if (slot != CACHE_NONE) {
            b->pins[slot] = 0;
            book_forget(b, slot);
            cache_drop(b->c, slot);
        }
        break;
    case 3:
        if (some(b, 20)) break;
        b->limit = (uint32_t)some(b, SLOTS) + 1;
        b->floor = b->limit / GROUPS < FLOOR ? b->limit / GROUPS : FLOOR;
        cache_limit(b->c, b->limit, &told);
        break;
    default:
        if (slot == CACHE_NONE) {
            take(b, record, uses);
        } else if (b->pins[slot] && some(b, 3)) {
            b->pins[slot]--;
            cache_unpin(b->c, slot);
        } else {
            cache_use(b->c, slot, uses);
            if (some(b, 2)) {
                cache_pin(b->c, slot);
                b->pins[slot]++;
            }
        }
    }
    if (b->in_use > b->limit) /* only pins keep more in use */
        for (int s = 0; s < SLOTS; s++)
            if (!b->out[s] && !b->pins[s]) {
                int32_t r = b->record_of[s];
                assert_true(r != CACHE_NONE && b->held[r / PER_GROUP] <= (int)b->floor);
            }
}

static uint64_t random_life(CachePolicy policy, uint64_t seed) {
    Book b = {.c = make(policy, SLOTS, GROUPS, PER_GROUP, FLOOR), .in_use = SLOTS, .limit = SLOTS, .floor = FLOOR, .random = seed};
    memset(b.slot_of, 0xff, sizeof b.slot_of);
    memset(b.record_of, 0xff, sizeof b.record_of);
    uint64_t allocations = mem_allocation_count();
    for (int i = 0; i < 20000; i++) {
        one_operation(&b);
        check(&b);
    }
    assert_int_equal(mem_allocation_count(), allocations);
    cache_free(b.c);
    return b.decisions;
}

static void whatever_is_asked_pins_and_floors_hold_and_the_books_agree(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++)
        for (uint64_t seed = 1; seed <= 5; seed++) random_life((CachePolicy)p, seed);
}

static void the_same_calls_give_the_same_decisions(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++)
        assert_true(random_life((CachePolicy)p, 77) == random_life((CachePolicy)p, 77));
}

/* ---- driven as the store does -------------------------------------------------------------------------------------- */

/* One want: hits first, then a slot for each miss; all given back at the end. Returns the hits. uses: NULL: one each. */
static int want(Cache *c, int group, int per_group, const int *experts, const int *uses, int n) {
    uint64_t all = 0;
    int hits = 0;
    int32_t slots[64], evicted;
    assert_true(n <= 64);
    for (int i = 0; i < n; i++) all += uses ? (uint64_t)uses[i] : 1;
    cache_want(c, (uint32_t)n, all);
    for (int i = 0; i < n; i++) {
        slots[i] = cache_find(c, group * per_group + experts[i]);
        if (slots[i] == CACHE_NONE) continue;
        cache_pin(c, slots[i]);
        cache_use(c, slots[i], uses ? (uint32_t)uses[i] : 1);
        hits++;
    }
    for (int i = 0; i < n; i++) {
        if (slots[i] != CACHE_NONE) continue;
        slots[i] = cache_take(c, group * per_group + experts[i], uses ? (uint32_t)uses[i] : 1, &evicted);
        if (slots[i] == CACHE_NONE) continue; /* more than there are slots: the store waits, a test does without */
        cache_unpin(c, slots[i]);
        slots[i] = CACHE_NONE;
    }
    for (int i = 0; i < n; i++)
        if (slots[i] != CACHE_NONE) cache_unpin(c, slots[i]);
    return hits;
}

static bool there(const Cache *c, int32_t record) { return cache_find(c, record) != CACHE_NONE; }

static void free_slots_are_taken_first_and_in_order(void **state) {
    (void)state;
    Cache *c = make(CACHE_LRU, 4, 1, 8, 0);
    int32_t evicted;
    for (int32_t i = 0; i < 4; i++) assert_int_equal(cache_take(c, i, 1, &evicted), i);
    assert_int_equal(cache_take(c, 7, 1, &evicted), CACHE_NONE); /* all pinned */
    cache_drop(c, 2);
    assert_int_equal(cache_take(c, 7, 1, &evicted), 2);
    assert_int_equal(evicted, CACHE_NONE);
    cache_free(c);
}

static void lru_gives_away_what_was_used_longest_ago(void **state) {
    (void)state;
    Cache *c = make(CACHE_LRU, 3, 1, 8, 0);
    for (int e = 0; e < 3; e++) want(c, 0, 8, &e, NULL, 1), cache_step(c, 1);
    int again = 0, other = 5;
    assert_int_equal(want(c, 0, 8, &again, NULL, 1), 1);
    want(c, 0, 8, &other, NULL, 1);
    assert_true(there(c, 0) && !there(c, 1) && there(c, 2) && there(c, 5));
    cache_free(c);
}

/* The cliff: with fewer slots than one token touches, plain LRU hits nothing at all, however steady the routing is. Ours finds nearly
 * every slot of use from the second token on: with a floor, and without one too, for age counts in whole steps, and among equals the
 * layer that asks gives up its own. */
static void a_cache_below_one_tokens_working_set_still_hits(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        for (uint32_t floor = 0; floor <= 2; floor += 2) {
            Cache *c = make((CachePolicy)p, 20, 10, 16, floor); /* 10 layers, 4 experts each: a token touches 40 */
            const int experts[] = {1, 4, 7, 11};
            int hits = 0;
            for (int token = 0; token < 50; token++) {
                for (int layer = 0; layer < 10; layer++) hits += want(c, layer, 16, experts, NULL, 4);
                cache_step(c, 1);
            }
            if (hits < 900) fail_msg("%s, floor %u: %d hits of 2000", cache_policy_name((CachePolicy)p), floor, hits); /* most: 49 * 20 */
            cache_free(c);
        }
    }
}

/* 0 is used again and again, 1 to 3 once each, 3 last: what the fourth of three slots costs. */
static void one_more_than_fits(Cache *c, int n_again) {
    int zero = 0;
    for (int i = 0; i <= n_again; i++) want(c, 0, 8, &zero, NULL, 1), cache_step(c, 1);
    for (int e = 1; e < 4; e++) want(c, 0, 8, &e, NULL, 1), cache_step(c, 1);
}

static void frequency_outlives_recency_where_it_counts(void **state) {
    (void)state;
    const bool keeps[CACHE_POLICIES] = {[CACHE_LFU] = true, [CACHE_HYBRID] = true, [CACHE_CLOCK] = true, [CACHE_S3FIFO] = true};
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 3, 1, 8, 0);
        one_more_than_fits(c, 3);
        assert_int_equal(there(c, 0), keeps[p]); /* LRU has forgotten that it was used often */
        assert_true(there(c, 3));
        cache_free(c);
    }
}

static void clock_gives_a_second_chance_but_no_third(void **state) {
    (void)state;
    Cache *c = make(CACHE_CLOCK, 3, 1, 8, 0);
    one_more_than_fits(c, 1); /* 0 was passed over once: 1 is gone */
    assert_true(there(c, 0) && !there(c, 1) && there(c, 2) && there(c, 3));
    int next[3] = {4, 5, 6};
    for (int i = 0; i < 3; i++) want(c, 0, 8, &next[i], NULL, 1), cache_step(c, 1);
    assert_false(there(c, 0));
    cache_free(c);
}

/* A score fades, so that what was popular once makes room: 0 is used 20 times, then 1 and 2 are, in turn, for long. */
static void counts_fade(void **state) {
    (void)state;
    const CachePolicy fading[] = {CACHE_LFU, CACHE_HYBRID};
    for (size_t i = 0; i < COUNT_OF(fading); i++) {
        Cache *c = make(fading[i], 2, 1, 8, 0);
        int e = 0, hits = 0;
        for (int t = 0; t < 1000; t++) want(c, 0, 8, &e, NULL, 1), cache_step(c, 1);
        for (int t = 0; t < 20000; t++) {
            e = 1 + t % 2;
            hits += want(c, 0, 8, &e, NULL, 1);
            cache_step(c, 1);
        }
        assert_false(there(c, 0));
        assert_true(hits > 10000);
        cache_free(c);
    }
}

/* Is what was used 16 times still there when, so many tokens later, one of three slots is needed? The others were used 4 times. */
static bool remembers(CachePolicy policy, uint32_t tokens) {
    Cache *c = make(policy, 3, 1, 8, 0);
    int e = 0;
    for (int i = 0; i < 16; i++) want(c, 0, 8, &e, NULL, 1), cache_step(c, 1);
    cache_step(c, tokens);
    for (e = 1; e < 3; e++)
        for (int i = 0; i < 4; i++) want(c, 0, 8, &e, NULL, 1), cache_step(c, 1);
    e = 3;
    want(c, 0, 8, &e, NULL, 1);
    bool remembered = there(c, 0);
    cache_free(c);
    return remembered;
}

static void counts_fade_at_the_pace_of_their_policy(void **state) {
    (void)state;
    assert_true(remembers(CACHE_HYBRID, 32)); /* a passage of text: half of it is forgotten in 64 tokens */
    assert_false(remembers(CACHE_HYBRID, 256));
    assert_true(remembers(CACHE_LFU, 1024)); /* a conversation: in 2048 */
    assert_false(remembers(CACHE_LFU, 8192));
}

/* What left the small queue and soon comes back goes to the main queue: a stream of new records does not push it out again. */
static void s3fifo_remembers_what_left(void **state) {
    (void)state;
    Cache *c = make(CACHE_S3FIFO, 10, 1, 256, 0);
    for (int e = 0; e < 11; e++) want(c, 0, 256, &e, NULL, 1), cache_step(c, 1);
    assert_false(there(c, 0));
    int zero = 0;
    assert_int_equal(want(c, 0, 256, &zero, NULL, 1), 0);
    for (int e = 20; e < 100; e++) want(c, 0, 256, &e, NULL, 1), cache_step(c, 1);
    assert_true(there(c, 0));
    cache_free(c);
}

static void a_group_keeps_its_floor_against_a_greedy_one(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 12, 2, 64, 4);
        int own[4] = {3, 9, 27, 40};
        want(c, 1, 64, own, NULL, 4);
        cache_step(c, 1);
        for (int i = 0; i < 500; i++) {
            int e = i * 7 % 64;
            want(c, 0, 64, &e, NULL, 1);
            cache_step(c, 1);
        }
        for (int i = 0; i < 4; i++) assert_true(there(c, 64 + own[i]));
        cache_free(c);
    }
}

/* ---- prompts ------------------------------------------------------------------------------------------------------- */

/* 16 experts are used by token after token, then a prompt of many tokens wants all 64, those 16 more than the others. */
static void a_prompt_leaves_what_decoding_needs(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 40, 2, 64, 20);
        uint64_t random = 5;
        for (int token = 0; token < 200; token++) {
            for (int g = 0; g < 2; g++) {
                int first = (int)(random_next(&random) % 12), experts[4];
                for (int i = 0; i < 4; i++) experts[i] = (first + i) * 4;
                want(c, g, 64, experts, NULL, 4);
            }
            cache_step(c, 1);
        }
        int all[64], uses[64], hits = 0;
        for (int e = 0; e < 64; e++) all[e] = e, uses[e] = e % 4 == 0 ? 40 : 2;
        for (int chunk = 0; chunk < 2; chunk++) {
            for (int g = 0; g < 2; g++) want(c, g, 64, all, uses, 64);
            cache_step(c, 190);
        }
        for (int g = 0; g < 2; g++)
            for (int e = 0; e < 64; e += 4) hits += there(c, g * 64 + e);
        if (hits < 28) fail_msg("%s: after a prompt %d of 32 are left", cache_policy_name((CachePolicy)p), hits);
        cache_free(c);
    }
}

/* A prompt that wants everything equally tells nothing: the chunks should find what fits, not chase it out in turn. */
static void an_even_prompt_finds_what_fits_again(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 32, 2, 64, 16);
        int all[64], uses[64], hits = 0;
        for (int e = 0; e < 64; e++) all[e] = e, uses[e] = 8;
        for (int chunk = 0; chunk < 10; chunk++) {
            for (int g = 0; g < 2; g++) hits += want(c, g, 64, all, uses, 64);
            cache_step(c, 128);
        }
        if (hits < 200) fail_msg("%s: %d hits of at most 288", cache_policy_name((CachePolicy)p), hits);
        cache_free(c);
    }
}

/* ---- guesses ------------------------------------------------------------------------------------------------------- */

static void a_guess_stays_until_its_turn_and_a_wrong_one_goes_first(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 8, 2, 64, 2);
        int32_t evicted;
        int warm[4] = {0, 1, 2, 3};
        for (int t = 0; t < 3; t++) {
            for (int g = 0; g < 2; g++) want(c, g, 64, warm, NULL, 4);
            cache_step(c, 1);
        }
        for (int e = 10; e < 12; e++) cache_unpin(c, cache_take(c, 64 + e, 0, &evicted)); /* two guesses for group 1 */
        int others[3] = {20, 21, 22}, right[2] = {10, 33};
        want(c, 0, 64, others, NULL, 3);
        assert_true(there(c, 64 + 10) && there(c, 64 + 11));
        assert_int_equal(want(c, 1, 64, right, NULL, 2), 1);
        assert_true(there(c, 64 + 10) && there(c, 64 + 33));
        assert_false(there(c, 64 + 11));
        cache_free(c);
    }
}

static void guesses_do_not_outlive_their_step_for_long(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 8, 2, 64, 0);
        int32_t evicted;
        for (int e = 0; e < 4; e++) cache_unpin(c, cache_take(c, 64 + 40 + e, 0, &evicted)); /* all wrong */
        for (int t = 0; t < 20; t++) {
            int experts[2] = {t % 4, 4 + t % 4};
            want(c, 0, 64, experts, NULL, 2);
            cache_step(c, 1);
        }
        int found = 0;
        for (int e = 0; e < 8; e++) found += there(c, e);
        assert_int_equal(found, 8);
        cache_free(c);
    }
}

/* ---- the limit ----------------------------------------------------------------------------------------------------- */

typedef struct Told {
    int up, back;
} Told;
static void told_up(void *user, int32_t slot) {
    (void)slot;
    ((Told *)user)->up++;
}
static void told_back(void *user, int32_t slot) {
    (void)slot;
    ((Told *)user)->back++;
}

static void a_lower_limit_gives_slots_up_as_pins_go_and_a_higher_one_takes_them_back(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        Cache *c = make((CachePolicy)p, 10, 2, 32, 3);
        Told t = {0};
        CacheLimit told = {&t, told_up, told_back};
        int32_t slots[8], evicted;
        for (int i = 0; i < 8; i++) slots[i] = cache_take(c, i < 4 ? i : 32 + i, 1, &evicted);
        cache_limit(c, 4, &told);
        assert_int_equal(t.up, 2); /* the free ones; the others are pinned */
        assert_int_equal(cache_slots_in_use(c), 8);
        for (int i = 0; i < 8; i++) cache_unpin(c, slots[i]);
        assert_int_equal(t.up, 6);
        assert_int_equal(cache_slots_in_use(c), 4);
        int held[2] = {0, 0};
        for (int r = 0; r < 64; r++) held[r / 32] += there(c, r);
        assert_int_equal(held[0] + held[1], 4);
        assert_true(held[0] >= 2 && held[1] >= 2); /* the floor, lowered to 4 / 2 */
        cache_limit(c, 99, &told);
        assert_int_equal(t.back, 6);
        assert_int_equal(cache_slots_in_use(c), 10);
        cache_free(c);
    }
}

/* ---- names and errors ---------------------------------------------------------------------------------------------- */

static void policies_have_names(void **state) {
    (void)state;
    for (int p = 0; p < CACHE_POLICIES; p++) {
        CachePolicy found = CACHE_POLICIES;
        assert_true(cache_policy_from_name(cache_policy_name((CachePolicy)p), &found));
        assert_int_equal(found, p);
    }
    CachePolicy none = CACHE_CLOCK;
    assert_false(cache_policy_from_name("no such policy", &none));
}

static void what_cannot_be_is_refused_and_memory_may_run_out(void **state) {
    (void)state;
    const CacheConfig bad[] = {{.n_slots = 0, .n_groups = 1, .per_group = 1}, {.n_slots = 1, .n_groups = 0, .per_group = 1},
                               {.n_slots = 1, .n_groups = 1, .per_group = 0}, {.n_slots = 1, .n_groups = 65536, .per_group = 65536}};
    Err err;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        err.code = ERR_OK;
        assert_null(cache_new(&bad[i], &err));
        assert_int_equal(err.code, ERR_RANGE);
    }
    for (int p = 0; p < CACHE_POLICIES; p++) {
        CacheConfig config = {.policy = (CachePolicy)p, .n_slots = 8, .n_groups = 2, .per_group = 4, .floor = 1};
        for (uint64_t n = 1;; n++) {
            mem_fail_after(n);
            Cache *c = cache_new(&config, &err);
            mem_fail_after(0);
            cache_free(c);
            if (c) break;
            assert_int_equal(err.code, ERR_MEMORY);
        }
    }
}

int main(void) {
    const struct CMUnitTest cache[] = {
        cmocka_unit_test(whatever_is_asked_pins_and_floors_hold_and_the_books_agree),
        cmocka_unit_test(the_same_calls_give_the_same_decisions),
        cmocka_unit_test(free_slots_are_taken_first_and_in_order),
        cmocka_unit_test(lru_gives_away_what_was_used_longest_ago),
        cmocka_unit_test(a_cache_below_one_tokens_working_set_still_hits),
        cmocka_unit_test(frequency_outlives_recency_where_it_counts),
        cmocka_unit_test(clock_gives_a_second_chance_but_no_third),
        cmocka_unit_test(counts_fade),
        cmocka_unit_test(counts_fade_at_the_pace_of_their_policy),
        cmocka_unit_test(s3fifo_remembers_what_left),
        cmocka_unit_test(a_group_keeps_its_floor_against_a_greedy_one),
        cmocka_unit_test(a_prompt_leaves_what_decoding_needs),
        cmocka_unit_test(an_even_prompt_finds_what_fits_again),
        cmocka_unit_test(a_guess_stays_until_its_turn_and_a_wrong_one_goes_first),
        cmocka_unit_test(guesses_do_not_outlive_their_step_for_long),
        cmocka_unit_test(a_lower_limit_gives_slots_up_as_pins_go_and_a_higher_one_takes_them_back),
        cmocka_unit_test(policies_have_names),
        cmocka_unit_test(what_cannot_be_is_refused_and_memory_may_run_out),
    };
    return RUN_TESTS(cache);
}
