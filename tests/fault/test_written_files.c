/* Files that the program writes: on a full disk an error and no file, after a kill no half file under the final name. */
#define _GNU_SOURCE
#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Commands that write a file of more than 16 KiB, the name still to come. */
static const char *const writers[] = {
    "$S logits -m data/tiny-tales.gguf -p 'Once upon a time there was a little fox who lived in a big forest with his mother.' --hidden -o",
    "$S synth --shape qwen3.5-35b-a3b --layers 1 --vocab 300 --quant q2_k -o",
    "$S trace -m data/tiny-tales.gguf -p 'Tell me a story' -n 100 -o",
};

static const char *small_disk(void) {
    static char dir[256];
    snprintf(dir, sizeof dir, "%s/small", temp_dir());
    mkdir(dir, 0777);
    return mount("sluice-test", dir, "tmpfs", 0, "size=16k") == 0 ? dir : NULL;
}

static void a_full_disk_is_an_error_and_leaves_nothing(void **state) {
    (void)state;
    const char *dir = small_disk();
    if (!dir) printf("SKIP: no small disk can be mounted here (not root)\n"), skip();
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        char line[1024], text[512];
        snprintf(line, sizeof line, "%s $T/small/out", writers[i]);
        const Result *r = shell(line);
        snprintf(text, sizeof text, "%s", r->err);
        int code = r->code, left = shell("test -e $T/small/out")->code;
        bool said = strstr(text, "small/out") || strstr(text, "No space left");
        if (code == 1 && said && left == 1) continue;
        umount(dir);
        fail_msg("%s: exit code %d, file %s, %s", line, code, left ? "absent" : "there", text);
    }
    umount(dir);
}

/* Killed at many moments: the name is taken only by a whole file. */
static void a_kill_leaves_no_half_file(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        if (strstr(writers[i], " synth ")) continue; /* synth: below */
        char line[2048];
        snprintf(line, sizeof line,
                 "%s $T/whole 2>/dev/null >&2 || exit 9\n"
                 "for ms in 005 020 050 120; do\n"
                 "  rm -f $T/killed; %s $T/killed >/dev/null 2>&1 & pid=$!\n"
                 "  sleep 0.$ms; kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null\n"
                 "  if test -e $T/killed; then cmp $T/whole $T/killed || exit 8; fi\n"
                 "done", writers[i], writers[i]);
        shell_expect(0, line);
    }
}

/* The large one: what is there after a kill is not there under its name, and the same command finishes it. */
static void a_killed_synth_is_not_there(void **state) {
    (void)state;
    char line[1024];
    snprintf(line, sizeof line, "%s $T/m.gguf >/dev/null 2>&1 & pid=$!; sleep 0.1; kill -9 $pid; wait $pid; test ! -e $T/m.gguf || $S "
                                "inspect -m $T/m.gguf", writers[1]);
    (void)shell_expect(0, line);
    shell("rm -f $T/m.gguf*");
}

int main(void) {
    const struct CMUnitTest written[] = {
        cmocka_unit_test(a_full_disk_is_an_error_and_leaves_nothing),
        cmocka_unit_test(a_kill_leaves_no_half_file),
        cmocka_unit_test(a_killed_synth_is_not_there),
    };
    return RUN_TESTS(written);
}
