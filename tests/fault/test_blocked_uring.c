/* io_uring blocked by the system, as containers do it: a sentence, and never another backend in silence. */
#define _GNU_SOURCE
#include "support/pattern_file.h"
#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

/* These run in a child, where cmocka cannot help: 0 is good, another number says what is not. */
static int setup_is_blocked(void) {
    if (!block_call(SYS_io_uring_setup)) return CANNOT_BLOCK;
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = DISK_URING}, &err);
    if (d) return 1;
    if (err.code != ERR_UNSUPPORTED) return 2;
    return strstr(err.text, "io_uring") && strstr(err.text, strerror(EPERM)) && strstr(err.text, "--io threads") ? 0 : 3;
}

/* Choosing by measurement does without it, and says so. */
static int choice_does_without(void) {
    if (!block_call(SYS_io_uring_setup)) return CANNOT_BLOCK;
    char sparse[300];
    snprintf(sparse, sizeof sparse, "%s.sparse", path);
    int fd = open(sparse, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 64 << 20) != 0) return 1;
    close(fd);
    DiskChoose how = {.path = sparse, .bytes = UINT64_C(1) << 30, .read_bytes = READ_BYTES, .any_backend = true, .memory_bytes = 1 << 20};
    DiskChoice choice;
    disk_choose(&how, &choice);
    unlink(sparse);
    if (choice.backend != DISK_THREADS) return 2;
    return choice.fresh && strstr(choice.why, "threads") && !strstr(choice.why, "uring") ? 0 : 3;
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

/* As a user without privileges with the usual small limit: root may lock as much as it likes, so that is given up too. */
static bool limit_locked_memory(uint64_t bytes) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0) return false;
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    data[0].permitted &= ~(1u << CAP_IPC_LOCK);
    struct rlimit limit = {bytes, bytes};
    return syscall(SYS_capset, &header, data) == 0 && setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

static int little_memory_may_be_locked(void) {
    enum { BYTES = 8 << 20 };
    char said[300];
    snprintf(said, sizeof said, "%s.said", path);
    if (!limit_locked_memory(64 * 1024)) return CANNOT_BLOCK;
    Err err = {0};
    uint32_t id;
    Disk *d = disk_new(&(DiskConfig){.backend = DISK_URING, .retries = -1}, &err);
    if (!d) return strstr(err.text, "--io threads") ? 0 : 1; /* an old kernel counts the ring itself */
    char *memory = os_pages_new(BYTES, &err);
    if (!memory || disk_add_file(d, path, &id, &err) || !freopen(said, "w", stderr)) return 2;
    DiskRead r = {.need = 100, .bytes = READ_BYTES, .dst = memory, .tag = 7};
    DiskDone done;
    DiskInfo info;
    for (int i = 0; i < 2; i++) { /* it works without */
        disk_register(d, memory, BYTES, 1);
        if (disk_submit(d, &r, 1, &err) || disk_reap(d, &done, 1, true) != 1 || done.code) return 6;
    }
    fflush(stderr);
    disk_info(d, &info);
    if (info.registered_bytes || strcmp(info.backend, "uring") != 0) return 3;
    Buf text = {0};
    if (os_read_file(said, 4096, &text, &err)) return 4;
    const char *first = strstr(text.ptr, "ulimit -l");
    if (!first || strstr(first + 1, "ulimit -l") || !strstr(text.ptr, "0 B of 8.00 MiB") || !strstr(text.ptr, "64.0 KiB")) return 5;
    disk_register(d, memory, 32 * 1024, BYTES / (32 * 1024)); /* of so little, some may be locked */
    for (int i = 0; i < 4; i++) {
        r.dst = memory + i * 32 * 1024;
        r.bytes = 32 * 1024;
        if (disk_submit(d, &r, 1, &err) || disk_reap(d, &done, 1, true) != 1 || done.code) return 7;
    }
    disk_info(d, &info);
    if (info.registered_bytes < 32 * 1024 || info.registered_bytes > 64 * 1024) return 8;
    if (os_read_file(said, 4096, &text, &err) || strstr(strstr(text.ptr, "ulimit -l") + 1, "ulimit -l")) return 9; /* said already */
    buf_free(&text);
    disk_free(d);
    os_pages_free(memory, BYTES);
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

static void a_choice_by_measurement_does_without(void **state) {
    (void)state;
    in_a_child(choice_does_without);
}

static void reads_blocked_later_fail_one_by_one(void **state) {
    (void)state;
    in_a_child(reads_are_blocked);
}

static void memory_that_may_not_be_locked_is_said_once(void **state) {
    (void)state;
    in_a_child(little_memory_may_be_locked);
}

/* Reads within a piece, at its end, across a seam and outside; registered as they come, and again after that was ended. */
static void registered_memory_gets_the_same_bytes(void **state) {
    (void)state;
    if (!backend_works(DISK_URING)) skip();
    Disk *d = open_disk(&(DiskConfig){.backend = DISK_URING}, write_pattern(temp_dir(), "registered", PATTERN_FILE_BYTES));
    char *memory = new_buffer();
    DiskInfo info;
    enum { PIECE = 128 * 1024, READ = 64 * 1024, N = PATTERN_BUFFER_BYTES / 2 / PIECE };
    static const struct { int at, pieces; } places[] = {{0, 1}, {READ, 1}, {PIECE - READ / 2, 1}, {N * PIECE - READ, 2}, {N * PIECE, 2}};
    for (int round = 0; round < 3; round++) {
        disk_register(d, round < 2 ? memory : NULL, PIECE, N);
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            disk_info(d, &info);
            assert_int_equal(info.registered_bytes, round < 2 && i > 0 ? places[i - 1].pieces * PIECE : 0);
            memset(memory, 0xA5, PATTERN_BUFFER_BYTES);
            DiskRead r = widened(d, 50000 * (i + 1), 50000, memory + places[i].at, i);
            r.bytes = READ;
            DiskDone done = read_one(d, &r);
            if (done.code) fail_msg("%s", done.err.text);
            check_bytes(r.dst, r.offset, r.need);
            for (char *p = memory; p < (char *)r.dst; p++) assert_int_equal((uint8_t)*p, 0xA5);
        }
    }
    disk_free(d);
    free(memory);
}

/* What was given back to the kernel and comes again is other memory; so its registration must have ended. */
static void a_piece_that_was_given_back_is_registered_anew(void **state) {
    (void)state;
    if (!backend_works(DISK_URING)) skip();
    enum { PIECE = 128 * 1024, N = 4 };
    Err err = {0};
    DiskInfo info;
    Disk *d = open_disk(&(DiskConfig){.backend = DISK_URING}, write_pattern(temp_dir(), "anew", PATTERN_FILE_BYTES));
    char *memory = os_pages_new(N * PIECE, &err);
    assert_non_null(memory);
    disk_register(d, memory, PIECE, N);
    for (int round = 0; round < 8; round++) {
        for (uint64_t i = 0; i < N; i++) {
            DiskRead r = widened(d, 60000 * (i + 1), 60000, memory + i * PIECE, i);
            DiskDone done = read_one(d, &r);
            if (done.code) fail_msg("%s", done.err.text);
            check_bytes(r.dst, r.offset, r.need);
        }
        disk_info(d, &info);
        assert_int_equal(info.registered_bytes, N * PIECE);
        char *gone = memory + round % N * PIECE;
        disk_unregister(d, gone);
        disk_unregister(d, gone); /* it has none: nothing happens */
        disk_info(d, &info);
        assert_int_equal(info.registered_bytes, (N - 1) * PIECE);
        os_pages_drop(gone, PIECE);
        assert_int_equal(gone[PIECE / 2], 0);
    }
    disk_free(d);
    os_pages_free(memory, N * PIECE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blocked_setup_is_refused),
        cmocka_unit_test(a_choice_by_measurement_does_without),
        cmocka_unit_test(reads_blocked_later_fail_one_by_one),
        cmocka_unit_test(memory_that_may_not_be_locked_is_said_once),
        cmocka_unit_test(registered_memory_gets_the_same_bytes),
        cmocka_unit_test(a_piece_that_was_given_back_is_registered_anew),
    };
    return RUN_TESTS(tests);
}
