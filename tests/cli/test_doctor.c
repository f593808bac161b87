/* sluice doctor on this machine, whatever it is: its fields are there and make sense. */
#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *o, const char *a, const char *b) {
    const json_t *v = json_object_get(json_object_get(o, a), b);
    if (!json_is_number(v)) fail_msg("no number %s.%s", a, b);
    return json_number_value(v);
}

static void doctor_measures_this_machine(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "mkdir -p $T/state; XDG_STATE_HOME=$T/state SLUICE_CTX=77 $S doctor --json --threads 1"));
    assert_true(number(o, "memory", "total_bytes") >= number(o, "memory", "default_ram_bytes"));
    assert_true(number(o, "memory", "default_ram_bytes") > 0);
    assert_true(number(o, "rates", "dram_gb_s") > 0 && number(o, "rates", "dense_gweights_s") > 0);
    assert_true(number(o, "rates", "expert_gweights_s") > 0 && number(o, "rates", "batched_gweights_s") > 0);
    assert_true(number(o, "disk", "gb_s") > 0 && number(o, "disk", "read_ms") > 0);
    const json_t *sweep = json_object_get(json_object_get(o, "disk"), "sweep"), *options = json_object_get(o, "options"), *item;
    assert_true(json_array_size(sweep) >= 20);
    assert_int_equal(number(o, "cpu", "threads"), 1);
    /* which value won, and where it came from */
    size_t i, found = 0;
    json_array_foreach(options, i, item) {
        const char *name = json_string_value(json_object_get(item, "name")), *from = json_string_value(json_object_get(item, "from"));
        if (strcmp(name, "ctx") == 0) found += strcmp(from, "variable") == 0;
        if (strcmp(name, "threads") == 0) found += strcmp(from, "flag") == 0;
    }
    assert_int_equal(found, 2);
    json_decref(o);
    /* what it wrote: the profile, how fast which way of reading is, and nothing that stays of the scratch file */
    assert_string_equal(shell_expect(0, "ls -A $T/state/sluice")->out, "disks.json\nmachine.json\n");
}

static void doctor_measures_where_the_model_lies(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "XDG_STATE_HOME=$T/other $S doctor --json -m data/tiny-tales.gguf --threads 1"));
    const char *path = json_string_value(json_object_get(json_object_get(o, "disk"), "path"));
    assert_string_equal(path, "data/tiny-tales.gguf");
    /* what binds, and what would change it: twice of a thing never makes it slower */
    assert_true(json_is_true(json_object_get(json_object_get(o, "model"), "fits")));
    double now = number(o, "model", "predicted_decode_tok_s");
    static const char *const twice[] = {"with_twice_the_memory_tok_s", "with_twice_the_disk_tok_s", "with_twice_the_dram_tok_s",
                                        "with_twice_the_cores_tok_s"};
    assert_true(now > 0);
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) assert_true(number(o, "model", twice[i]) >= now);
    json_decref(o);
    assert_string_equal(shell_expect(0, "ls -A $T/other/sluice")->out, "disks.json\nmachine.json\n");
}

/* What doctor left is believed for the drive and the machine that it measured, and for no other. */
static void plan_believes_doctor_where_it_was(void **state) {
    (void)state;
    shell_expect(0, "cp data/tiny-tales.gguf $T/m.gguf && export XDG_STATE_HOME=$T/believed && $S doctor -m $T/m.gguf --threads 1 --quiet");
    const Result *r = shell_expect(0, "XDG_STATE_HOME=$T/believed $S plan -m $T/m.gguf --threads 1");
    assert_null(strstr(r->err, "measuring"));
    assert_non_null(strstr(r->out, "(measured by doctor)"));
    r = shell_expect(0, "cd $T/believed/sluice && sed -i 's,\"disk_path\": *\"[^\"]*\",\"disk_path\": \"/proc/version\",' machine.json && "
                        "cd - > $T/null && XDG_STATE_HOME=$T/believed $S plan -m $T/m.gguf --threads 1");
    assert_non_null(strstr(r->err, "measuring the disk under the model"));
    assert_null(strstr(r->err, "arithmetic"));
    r = shell_expect(0, "cd $T/believed/sluice && sed -i 's,\"cpu\": *\"[^\"]*\",\"cpu\": \"another\",' machine.json && "
                        "cd - > $T/null && XDG_STATE_HOME=$T/believed $S plan -m $T/m.gguf --threads 1");
    assert_non_null(strstr(r->err, "measuring this machine's arithmetic and memory"));
}

static void doctor_refuses_what_it_cannot_do(void **state) {
    (void)state;
    assert_non_null(strstr(shell_expect(2, "$S doctor --dir /tmp -m data/tiny-tales.gguf")->err, "exclude each other"));
    assert_non_null(strstr(shell_expect(1, "$S doctor --dir /nonexistent")->err, "/nonexistent"));
    assert_non_null(strstr(shell_expect(1, "touch $T/file; XDG_STATE_HOME=$T/file $S doctor")->err, "--dir"));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(doctor_measures_this_machine),
        cmocka_unit_test(doctor_measures_where_the_model_lies),
        cmocka_unit_test(plan_believes_doctor_where_it_was),
        cmocka_unit_test(doctor_refuses_what_it_cannot_do),
    };
    return RUN_TESTS(tests);
}
