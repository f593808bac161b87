/* io_uring blocked by the system, as containers do it: a sentence, and never another backend in silence. */
#define _GNU_SOURCE
#include "support/support.h"

#include "disk/disk.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_BLOCK = 255, N_READS = 6, READ_BYTES = 64 * 1024 };

static char path[256];

/* From now on the kernel answers this system call with EPERM. */
static bool block_call(long call) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(filter), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* These two run in a child, where cmocka cannot help: 0 is good, another number says what is not. */
static int setup_is_blocked(void) {
    if (!block_call(SYS_io_uring_setup)) return CANNOT_BLOCK;
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = DISK_URING}, &err);
    if (d) return 1;
    if (err.code != ERR_UNSUPPORTED) return 2;
    return strstr(err.text, "io_uring") && strstr(err.text, strerror(EPERM)) && strstr(err.text, "--io threads") ? 0 : 3;
}

static int reads_are_blocked(void) {
    Err err = {0};
    uint32_t id;
    Disk *d = disk_new(&(DiskConfig){.backend = DISK_URING, .depth = 2}, &err);
    char *buffer = os_pages_new(N_READS * READ_BYTES, &err);
    if (!d || !buffer || disk_add_file(d, path, &id, &err)) return 1;
    if (!block_call(SYS_io_uring_enter)) return CANNOT_BLOCK;
    for (uint64_t i = 0; i < N_READS; i++) {
        DiskRead r = {.need = 100, .bytes = READ_BYTES, .dst = buffer + i * READ_BYTES, .tag = i};
        if (disk_submit(d, &r, 1, &err)) return 2;
    }
    DiskDone done[N_READS];
    for (size_t n = 0; n < N_READS;) { /* every read ends, none hangs */
        size_t got = disk_reap(d, done, N_READS, true);
        if (got == 0) return 3;
        for (size_t i = 0; i < got; i++)
            if (done[i].code != ERR_IO || !strstr(done[i].err.text, path) || !strstr(done[i].err.text, strerror(EPERM))) return 4;
        n += got;
    }
    disk_free(d);
    os_pages_free(buffer, N_READS * READ_BYTES);
    return 0;
}

static void in_a_child(int (*what)(void)) {
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = DISK_URING}, &err);
    if (!d) { /* blocked already: then at least the sentence can be checked, and what needs more is skipped */
        assert_int_equal(err.code, ERR_UNSUPPORTED);
        printf("SKIP: %s\n", err.text);
        skip();
    }
    disk_free(d);
    snprintf(path, sizeof path, "%s/file", temp_dir());
    static const char bytes[READ_BYTES];
    assert_int_equal(os_write_file(path, bytes, sizeof bytes, &err), ERR_OK);
    fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(what());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_BLOCK) {
        printf("SKIP: system calls cannot be blocked here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_blocked_setup_is_refused(void **state) {
    (void)state;
    in_a_child(setup_is_blocked);
}

static void reads_blocked_later_fail_one_by_one(void **state) {
    (void)state;
    in_a_child(reads_are_blocked);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocked_setup_is_refused),
        cmocka_unit_test(reads_blocked_later_fail_one_by_one),
    };
    return RUN_TESTS(tests);
}
