/* Time, the terminal, Ctrl-C, and the progress line. */
#define _GNU_SOURCE
#include "os/os.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

uint64_t os_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void os_sleep_ns(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    (void)nanosleep(&t, NULL);
}

uint64_t os_thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool stderr_is_terminal(void) { return isatty(STDERR_FILENO) == 1; }

bool os_stdout_is_terminal(void) { return isatty(STDOUT_FILENO) == 1; }

int os_terminal_columns(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    if (signal_number == SIGHUP) { /* the terminal is gone, as the kernel says, and the shell again: what would be lost is saved */
        interrupted = SIGTERM;
        return;
    }
    if (interrupted) _exit(128 + signal_number);
    interrupted = signal_number;
}

void os_catch_interrupt(void) {
    struct sigaction act;
    memset(&act, 0, sizeof act);
    act.sa_handler = on_interrupt; /* no SA_RESTART: a read from the keyboard should end */
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    struct sigaction before;
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(SIGHUP, &act, NULL); /* ignored: nohup */
}

bool os_interrupted(void) { return interrupted != 0; }

void os_forget_interrupt(void) {
    if (interrupted != SIGTERM) interrupted = 0;
}

bool os_terminated(void) { return interrupted == SIGTERM; }

void os_progress_start(OsProgress *p, const char *what, const char *unit, uint64_t total) {
    memset(p, 0, sizeof *p);
    p->what = what;
    p->unit = unit;
    p->total = total;
    p->start_ns = os_now_ns();
    p->on = stderr_is_terminal() && log_level() >= LOG_NOTE;
}

void os_progress_step(OsProgress *p, uint64_t done) {
    p->done = done;
    if (!p->on) return;
    uint64_t now = os_now_ns();
    /* nothing that is over within half a second deserves a line */
    if (now - p->start_ns < 500000000u || now - p->drawn_ns < 100000000u) return;
    p->drawn_ns = now;
    p->visible = true;
    double seconds = (double)(now - p->start_ns) * 1e-9, share = p->total ? (double)done / (double)p->total : 0;
    double left = share > 0 ? seconds / share - seconds : 0;
    char a[32], b[32];
    if (p->unit)
        fprintf(stderr, "\r\033[K%s %llu of %llu %s, %.0f %%, %.1f/s, %.0f s left", p->what, (unsigned long long)done,
                (unsigned long long)p->total, p->unit, share * 100, (double)done / seconds, left);
    else
        fprintf(stderr, "\r\033[K%s %s of %s, %.0f %%, %.2f GB/s, %.0f s left", p->what, format_size(done, a),
                format_size(p->total, b), share * 100, (double)done / seconds * 1e-9, left);
    fflush(stderr);
}

void os_progress_end(OsProgress *p) {
    if (p->visible) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
    p->on = p->visible = false;
}
