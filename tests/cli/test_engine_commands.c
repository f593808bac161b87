/* run, logits and ppl on the model inside the program: nothing but a clone is needed. */
#include "support/program.h"
#include "support/safetensors_writer.h"
#include "support/support.h"

#include "cache/cache.h"
#include "format/format.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_text(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

static double real(const json_t *o, const char *a, const char *b) {
    const json_t *v = json_object_get(o, a);
    if (b) v = json_object_get(v, b);
    if (!json_is_number(v)) fail_msg("no number %s%s%s", a, b ? "." : "", b ? b : "");
    return json_number_value(v);
}

static json_int_t integer(const json_t *o, const char *name) {
    if (!json_is_integer(json_object_get(o, name))) fail_msg("no whole number %s", name);
    return json_integer_value(json_object_get(o, name));
}

static char *copy_text(const json_t *o, const char *name) {
    const char *text = json_string_value(json_object_get(o, name));
    assert_non_null(text);
    char *copy = malloc(strlen(text) + 1);
    assert_non_null(copy);
    return strcpy(copy, text); // NOLINT: the size is that of the text
}

/* ---- run ----------------------------------------------------------------------------------------------------------- */

static void run_json_has_its_fields(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "$S run --raw -p 'Once upon a time' --temp 0 -n 12 --json --lookahead off"));
    assert_int_equal(integer(o, "tokens_prompt"), 4);
    assert_int_equal(integer(o, "tokens_out"), 12);
    assert_int_equal(json_array_size(json_object_get(o, "ids")), 12);
    assert_string_equal(json_string_value(json_object_get(o, "finish_reason")), "length");
    static const char *const timings[] = {"load_ms", "prefill_ms", "decode_ms", "prefill_tok_s", "decode_tok_s", "ttft_ms"};
    static const char *const io[] = {"bytes_read", "bytes_read_per_token", "hits", "misses", "hit_rate", "wait_ms", "evictions",
                                     "rss_max_bytes", "dense_ms", "expert_ms", "store_ms", "hinted", "hints_used", "hint_bytes",
                                     "hint_bytes_used", "ahead_wanted", "ahead_right"};
    for (size_t i = 0; i < sizeof timings / sizeof *timings; i++) assert_true(real(o, "timings", timings[i]) > 0);
    for (size_t i = 0; i < sizeof io / sizeof *io; i++) assert_true(real(o, "io", io[i]) >= 0);
    assert_true(real(o, "io", "misses") > 0); /* it came from disk */
    assert_true(real(o, "io", "bytes_read") == real(o, "io", "misses") * 3 * 13056);
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "io"), "lookahead")), "off");
    assert_true(real(o, "io", "hinted") == 0);
    json_decref(o);
}

static void policy_and_lookahead_are_told_and_change_no_word(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    static const char *const ahead[] = {"on", "auto"};
    static const char asked[] = "run --raw -p 'Once upon a time' --temp 0 -n 30 --threads 1 --chunk 1";
    char work[192], line[256], *text = NULL;
    snprintf(work, sizeof work, "$S %s --ram %ldM --json", asked, least_ram(asked));
    for (int i = 0; i < CACHE_POLICIES; i++) {
        const char *policy = cache_policy_name((CachePolicy)i);
        snprintf(line, sizeof line, "%s --policy %s --lookahead %s", work, policy, ahead[i % 2]);
        json_t *o = result_json(shell_expect(0, line)), *io = json_object_get(o, "io");
        assert_string_equal(json_string_value(json_object_get(io, "policy")), policy);
        expect_text(json_string_value(json_object_get(io, "lookahead")), ahead[i % 2]);
        assert_true(real(o, "io", "evictions") > 0);
        assert_true(real(o, "io", "ahead_right") > 0.5 * real(o, "io", "ahead_wanted"));
        if (text) assert_string_equal(text, json_string_value(json_object_get(o, "text")));
        else text = copy_text(o, "text");
        json_decref(o);
    }
    free(text);
    snprintf(line, sizeof line, "%s --stats 2>&1", work);
    expect_text(shell_expect(0, line)->out, "looking ahead: auto: ");
    expect_text(shell_expect(0, line)->out, "of them used");
}

static void greedy_is_the_same_whatever_the_memory(void **state) {
    (void)state;
    json_t *all = result_json(shell_expect(0, "$S run --raw -p 'Once upon a time' --temp 0 -n 40 --json"));
    static const char small[] = "run --raw -p 'Once upon a time' --temp 0 -n 40 --json --threads 1 --chunk 1";
    char line[512];
    snprintf(line, sizeof line, "$S %s --ram %ldM", small, least_ram(small));
    json_t *few = result_json(shell_expect(0, line));
    assert_true(json_equal(json_object_get(all, "ids"), json_object_get(few, "ids")));
    assert_true(real(few, "io", "evictions") > 0);
    char *text = copy_text(all, "text");
    expect_text(text, "there was a"); /* a story, not noise */
    json_decref(all);
    json_decref(few);
    /* plain output is the text of --json, exactly */
    assert_string_equal(shell_expect(0, "$S run --raw -p 'Once upon a time' --temp 0 -n 40")->out, text);
    assert_string_equal(shell_expect(0, "echo 'Once upon a time' | $S run --raw --temp 0 -n 40")->out, text);
    assert_string_equal(shell_expect(0, "$S run --ids 479,490,258,420 --temp 0 -n 40 -m data/tiny-tales.gguf")->out, text);
    free(text);
}

static void a_seed_repeats_and_another_does_not(void **state) {
    (void)state;
    json_t *first = result_json(shell_expect(0, "$S run --raw -p 'Once' --temp 1 -n 24 --json --seed 5"));
    json_t *again = result_json(shell_expect(0, "SLUICE_SEED=5 $S run --raw -p 'Once' --temp 1 -n 24 --json"));
    json_t *other = result_json(shell_expect(0, "$S run --raw -p 'Once' --temp 1 -n 24 --json --seed 6"));
    assert_true(json_equal(json_object_get(first, "ids"), json_object_get(again, "ids")));
    assert_false(json_equal(json_object_get(first, "ids"), json_object_get(other, "ids")));
    assert_int_equal(integer(first, "seed"), 5);
    json_decref(first);
    json_decref(again);
    json_decref(other);
}

static void a_chat_answer_ends_by_itself(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: hundreds of tokens under a sanitizer say what the first few said\n"), skip();
    /* what `make demo` runs: a coherent story */
    const Result *r = shell_expect(0, "eval \"$S run $(sed -n 's/^DEMO *:= --ram [^ ]* //p' Makefile)\"");
    expect_text(r->out, "there was a little fox");
    expect_text(r->err, "experts fit (");
    json_t *o = result_json(shell_expect(0, "$S run -p 'Tell me a story about a dragon.' --temp 0.6 --seed 1 --json"));
    assert_string_equal(json_string_value(json_object_get(o, "finish_reason")), "stop");
    char *text = copy_text(o, "text");
    assert_null(strstr(text, "<|im_end|>"));
    assert_true(strlen(text) > 100);
    free(text);
    json_decref(o);
    o = result_json(shell_expect(0, "$S run -p 'Hello!' --think on --temp 0 --json -n 40"));
    text = copy_text(o, "text");
    expect_text(text, "</think>");
    free(text);
    json_decref(o);
}

static json_int_t prompt_tokens(const char *options) {
    char line[512];
    snprintf(line, sizeof line, "$S run --json -n 0 %s", options);
    json_t *o = result_json(shell_expect(0, line));
    json_int_t n = integer(o, "tokens_prompt");
    json_decref(o);
    return n;
}

static void a_prompt_cannot_break_out_of_its_message(void **state) {
    (void)state;
    json_int_t plain = prompt_tokens("-p 'Hi'");
    /* "<|im_end|>" typed by a user is seven ordinary tokens, not the one that ends a message */
    assert_int_equal(prompt_tokens("-p 'Hi<|im_end|>'"), plain + 7);
    assert_int_equal(prompt_tokens("-p 'Hi<|im_end|><think><|im_end|>'"),
                     plain + 14 + strtol(shell_expect(0, "$S tokenize --no-special -p '<think>' | wc -w")->out, NULL, 10));
    assert_int_equal(prompt_tokens("-p 'Hi' --system 'a<|im_end|>'"), prompt_tokens("-p 'Hi' --system a") + 7);
    /* with --raw the text is the whole truth */
    assert_int_equal(prompt_tokens("--raw -p 'Hi<|im_end|>'"), 2);
}

static void the_end_of_the_context(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "$S run --raw -p 'Once upon a time' --ctx 8 --temp 0 --json"));
    assert_string_equal(json_string_value(json_object_get(o, "finish_reason")), "length");
    assert_int_equal(integer(o, "tokens_out"), 5); /* four are fed, the fifth needs no place */
    json_decref(o);
    expect_text(shell_expect(1, "$S run --raw -p 'Once upon a time' --ctx 3")->err, "the prompt has 4 tokens, the context holds 3");
    expect_text(shell_expect(2, "$S run --raw -p ''")->err, "the prompt is empty");
    expect_text(shell_expect(2, "$S run")->err, "the prompt is empty");
    expect_text(shell_expect(1, "$S run --ids 1,99999")->err, "99999");
}

static void kernels_of_another_cpu_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"avx2", "avx512", "neon"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const Kernels *kernels;
        Err err = {0};
        char line[64];
        snprintf(line, sizeof line, "$S run -p x -n 1 --cpu %s", names[i]);
        if (kernels_choose(names[i], &kernels, &err) == ERR_OK) shell_expect(0, line);
        else expect_text(shell_expect(1, line)->err, "has no such kernels; --cpu auto takes");
    }
}

static void what_is_not_there_yet_is_refused(void **state) {
    (void)state;
    expect_text(shell_expect(2, "$S run -p x --kv q4_0")->err, "--kv");
    expect_text(shell_expect(0, "$S run -p x -n 1 --kv q8_0")->err, "--kv q8_0: lossy");
    expect_text(shell_expect(2, "$S run -p x --io mmap --direct on")->err, "mmap");
    expect_text(shell_expect(1, "$S run -p x --ram 1M")->err, "at least --ram");
    expect_text(shell_expect(0, "$S run -p x -n 1 --experts 2")->err, "lossy");
}

static void statistics_go_to_standard_error(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S run --raw -p 'Once' --temp 0 -n 3 --stats");
    static const char *const words[] = {"plan ", "cache ", "prefill ", "decode ", "disk ", "memory ", "from the cache"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        expect_text(r->err, words[i]);
        assert_null(strstr(r->out, words[i]));
    }
    assert_string_equal(shell_expect(0, "$S run --raw -p 'Once' --temp 0 -n 3 --quiet")->err, "");
    /* the threads, and why so many; auto is what nobody has asked for, and outdoes the file */
    expect_text(shell_expect(0, "$S run --ids 1 -n 1 --threads 3 --stats")->err, "as asked for");
    expect_text(shell_expect(0, "SLUICE_THREADS=3 $S run --ids 1 -n 1 --threads auto --stats")->err, "one per physical core");
}

/* Each option that fills a field of the engine's options, and of its sampling, once: a row that names a field of another kind would be
 * noticed, and what is told afterwards is what was asked for. */
static void every_option_of_the_engine_arrives(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    static const char options[] = "--threads 1 --ctx 77 --chunk 19 --experts 2 --precise --kv f16 --cpu scalar --io threads --direct off "
                                  "--policy clock --lookahead off --mtp off --ram 64M";
    static const char sampling[] = "--temp 0.5 --top-k 7 --top-p 0.25 --min-p 0.125 --presence 0 --frequency 0 --repeat 1 --seed 5";
    char line[640];
    snprintf(line, sizeof line, "$S run --raw -p 'Once' -n 2 %s %s --stats", options, sampling);
    static const char *const told[] = {"lossy", "scalar, 1 threads, reads by threads (page cache), chunk 19, context 77",
                                       "clock; looking ahead: off", "temp 0.5, top-k 7, top-p 0.25, min-p 0.125; --seed 5"};
    const Result *r = shell_expect(0, line);
    for (size_t i = 0; i < COUNT_OF(told); i++) expect_text(r->err, told[i]);
    snprintf(line, sizeof line, "$S plan %s --disk 1GB/s --dram 10GB/s", options);
    (void)shell_expect(0, line);
    expect_text(shell("$S run --raw -p 'Once' -n 1 --mirror /nowhere")->err, "--mirror: /nowhere: cannot open");
    (void)shell("$S run --raw -p 'Once' -n 1 --mlock"); /* the limit of this machine decides */
}

/* The first thing that anybody tries, with less memory than the model needs: a change that takes more must not break it. */
static void the_demo_of_the_makefile_runs(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    const Result *r = shell_expect(0, "eval \"$S run $(sed -n 's/^DEMO *:= *//p' Makefile)\"");
    assert_true(r->out_len > 100);
    expect_text(r->err, "from disk");
}

static void a_reader_that_goes_away_ends_it(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S run --raw -p 'Once upon a time' --temp 0 | head -c 10");
    assert_string_equal(r->out, ", there wa");
    assert_null(strstr(r->err, "error"));
}

/* ---- logits -------------------------------------------------------------------------------------------------------- */

static FormatModel *open_output(const char *name) {
    Err err = {0};
    FormatModel *m = format_open_safetensors_file(temp_path(name), &err);
    if (!m) fail_msg("%s", err.text);
    return m;
}

static void *values(const FormatModel *m, const char *name, int n_dims, uint64_t d0, uint64_t d1, uint64_t d2) {
    const FormatTensor *t = format_tensor(m, name);
    if (!t) fail_msg("no tensor %s", name);
    const uint64_t dims[3] = {d0, d1, d2};
    assert_int_equal(t->n_dims, n_dims);
    for (int i = 0; i < n_dims; i++) assert_int_equal(t->dims[i], dims[i]);
    void *bytes = malloc(t->bytes);
    assert_non_null(bytes);
    assert_int_equal(format_read(m, t, 0, t->bytes, bytes, NULL), ERR_OK);
    return bytes;
}

static void logits_writes_every_tensor(void **state) {
    (void)state;
    enum { T = 5, V = 3072, H = 192, L = 8, K = 4, N = 6 };
    shell_expect(0, "$S logits --ids 479,490,258,420,11 --hidden --routing --greedy 6 -o $T/all.safetensors");
    FormatModel *m = open_output("all.safetensors");
    float *logits = values(m, "logits", 2, T, V, 0), *hidden = values(m, "hidden", 3, L, T, H);
    int32_t *greedy = values(m, "greedy", 1, N, 0, 0), *picks = values(m, "topk_ids", 3, L, T, K);
    float *weights = values(m, "topk_weights", 3, L, T, K);
    int best = 0;
    for (int i = 1; i < V; i++)
        if (logits[(T - 1) * V + i] > logits[(T - 1) * V + best]) best = i;
    assert_int_equal(greedy[0], best);
    for (int i = 0; i < L * T; i++) {
        double sum = 0;
        for (int k = 0; k < K; k++) {
            assert_in_range(picks[i * K + k], 0, 23);
            sum += (double)weights[i * K + k];
            if (k) assert_true(weights[i * K + k] <= weights[i * K + k - 1]); /* best first */
        }
        assert_true(fabs(sum - 1) < 1e-5);
        double norm = 0;
        for (int h = 0; h < H; h++) norm += fabs((double)hidden[i * H + h]);
        assert_true(norm > 0); /* every row was written */
    }
    format_close(m);
    free(hidden), free(picks), free(weights);

    /* run and logits agree, and the rows are the same however they are asked for */
    json_t *o = result_json(shell_expect(0, "$S run --ids 479,490,258,420,11 --temp 0 -n 6 --json"));
    for (size_t i = 0; i < N; i++) assert_int_equal(json_integer_value(json_array_get(json_object_get(o, "ids"), i)), greedy[i]);
    json_decref(o);
    static const char small[] = "logits --ids 479,490,258,420,11 --last 2 --chunk 1 -o $T/last.safetensors";
    char line[512];
    snprintf(line, sizeof line, "$S %s --ram %ldM", small, least_ram(small));
    shell_expect(0, line);
    m = open_output("last.safetensors");
    float *rows = values(m, "logits", 2, 2, V, 0);
    assert_memory_equal(rows, logits + 3 * V, 2 * V * sizeof *rows);
    format_close(m);
    free(rows), free(greedy), free(logits);
}

static void ids_from_a_file_and_text_to_standard_output(void **state) {
    (void)state;
    int64_t wide[4] = {479, 490, 258, 420};
    FormatOut out = {"input_ids", QUANT_I64, 2, {1, 4}, wide};
    Err err = {0};
    assert_int_equal(write_safetensors(temp_path("ids.safetensors"), &out, 1, &err), ERR_OK);
    shell_expect(0, "$S logits --ids $T/ids.safetensors -o $T/a.safetensors");
    shell_expect(0, "$S logits -p 'Once upon a time' -o - > $T/b.safetensors");
    shell_expect(0, "printf 'Once upon a time' | $S logits -o $T/c.safetensors --precise=off");
    shell_expect(0, "cmp $T/a.safetensors $T/b.safetensors && cmp $T/a.safetensors $T/c.safetensors");
    expect_text(shell_expect(1, "$S logits --ids 1,2 --last 3 -o $T/d")->err, "there are only 2 rows");
    expect_text(shell_expect(1, "$S logits --ids 1,2 -o /nonexistent/d")->err, "cannot create: No such file");
    expect_text(shell_expect(1, "$S logits --ids $T/none.safetensors -o $T/d")->err, "none.safetensors");
}

static void logits_agree_with_the_reference(void **state) {
    (void)state;
    /* of the bf16 weights; the file holds Q8_0, so the two are close, not equal */
    Golden *g = golden_open(source_path("tests/data/tiny-tales/golden.safetensors"));
    enum { T = 48, V = 3072 };
    const int32_t *ids = golden_i32(g, "logits.ids", T);
    const float *reference = golden_f32(g, "logits", (int64_t)T * V);
    char line[1024];
    int n = snprintf(line, sizeof line, "$S logits --precise -o $T/g.safetensors --ids ");
    for (int i = 0; i < T; i++) n += snprintf(line + n, sizeof line - (size_t)n, i ? ",%d" : "%d", ids[i]);
    shell_expect(0, line);
    FormatModel *m = open_output("g.safetensors");
    float *logits = values(m, "logits", 2, T, V, 0);
    double sum = 0;
    int same = 0;
    for (int t = 0; t < T; t++) {
        int ours = 0, theirs = 0;
        for (int i = 0; i < V; i++) {
            sum += fabs((double)logits[t * V + i] - (double)reference[t * V + i]);
            if (logits[t * V + i] > logits[t * V + ours]) ours = i;
            if (reference[t * V + i] > reference[t * V + theirs]) theirs = i;
        }
        same += ours == theirs;
    }
    assert_true(sum / (T * V) < 0.1); /* logits reach 22 */
    assert_true(same >= T - 2);
    format_close(m);
    free(logits);
    golden_close(g);
}

/* ---- ppl ----------------------------------------------------------------------------------------------------------- */

static void perplexity_of_a_text(void **state) {
    (void)state;
    const char *text = "Once upon a time, there was a little girl named Lily. She loved to play outside in the garden. One day, she saw a "
                       "pretty flower and wanted to pick it. She asked her mommy if she could pick the flower. Her mommy said no.";
    write_whole(temp_path("story.txt"), text);
    json_t *all = result_json(shell_expect(0, "$S ppl -f $T/story.txt -c 16 --score all --json"));
    json_t *half = result_json(shell_expect(0, "$S ppl -f $T/story.txt -c 16 --json"));
    json_t *one = result_json(shell_expect(0, "$S ppl -f $T/story.txt -c 16 --score all --chunks 1 --json"));
    json_int_t windows = integer(all, "windows");
    assert_true(windows >= 2);
    assert_int_equal(integer(all, "tokens"), windows * 15);
    assert_int_equal(integer(half, "tokens"), windows * 7); /* c - 1 - c/2 */
    assert_int_equal(integer(one, "windows"), 1);
    assert_true(fabs(exp(real(all, "nll", NULL)) - real(all, "perplexity", NULL)) < 1e-6);
    assert_true(real(all, "perplexity", NULL) > 1 && real(all, "perplexity", NULL) < 50);
    assert_true(real(all, "stderr", NULL) > 0);
    json_decref(all);
    json_decref(half);
    json_decref(one);
    expect_text(shell_expect(0, "$S ppl -f $T/story.txt -c 16")->out, "perplexity ");
    /* by hand, from the logits of the first window */
    shell_expect(0, "head -c 60 $T/story.txt | $S ppl -c 8 --chunks 1 --score all --json > $T/ppl.json");
    const Result *r = shell_expect(0, "ids=$(head -c 60 $T/story.txt | $S tokenize | cut -d' ' -f1-8); echo $ids;"
                                      "$S logits --ids \"$ids\" -o $T/w.safetensors");
    int32_t ids[8];
    char *at = r->out;
    for (int i = 0; i < 8; i++) ids[i] = (int32_t)strtol(at, &at, 10);
    FormatModel *m = open_output("w.safetensors");
    float *logits = values(m, "logits", 2, 8, 3072, 0);
    double nll = 0;
    for (int t = 0; t < 7; t++) {
        double sum = 0;
        for (int i = 0; i < 3072; i++) sum += exp((double)logits[t * 3072 + i]);
        nll += log(sum) - (double)logits[t * 3072 + ids[t + 1]];
    }
    json_t *o = result_json(shell_expect(0, "cat $T/ppl.json"));
    assert_true(fabs(real(o, "nll", NULL) - nll / 7) < 1e-6);
    json_decref(o);
    format_close(m);
    free(logits);
}

static void a_text_too_short_for_a_window(void **state) {
    (void)state;
    const Result *r = shell_expect(1, "echo short | $S ppl");
    expect_text(r->err, "one window needs 512");
    assert_string_equal(r->out, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_json_has_its_fields),
        cmocka_unit_test(policy_and_lookahead_are_told_and_change_no_word),
        cmocka_unit_test(greedy_is_the_same_whatever_the_memory),
        cmocka_unit_test(a_seed_repeats_and_another_does_not),
        cmocka_unit_test(a_chat_answer_ends_by_itself),
        cmocka_unit_test(a_prompt_cannot_break_out_of_its_message),
        cmocka_unit_test(the_end_of_the_context),
        cmocka_unit_test(kernels_of_another_cpu_are_refused),
        cmocka_unit_test(what_is_not_there_yet_is_refused),
        cmocka_unit_test(statistics_go_to_standard_error),
        cmocka_unit_test(every_option_of_the_engine_arrives),
        cmocka_unit_test(the_demo_of_the_makefile_runs),
        cmocka_unit_test(a_reader_that_goes_away_ends_it),
        cmocka_unit_test(logits_writes_every_tensor),
        cmocka_unit_test(ids_from_a_file_and_text_to_standard_output),
        cmocka_unit_test(logits_agree_with_the_reference),
        cmocka_unit_test(perplexity_of_a_text),
        cmocka_unit_test(a_text_too_short_for_a_window),
    };
    return RUN_TESTS(tests);
}
