/* Other programs: started in a session of their own, talked with through pipes, and ended with all that they have started. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static void close_end(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Ours and more: a later NAME=VALUE takes the place of an earlier one. [n + 1], the strings borrowed. */
static const char **join_environment(const char *const *more) {
    size_t n = 0, n_more = 0, out = 0;
    while (environ && environ[n]) n++;
    while (more && more[n_more]) n_more++;
    const char **all = MEM_NEW(const char *, n + n_more + 1);
    for (size_t i = 0; all && i < n; i++) {
        bool replaced = false;
        size_t name = strcspn(environ[i], "=") + 1;
        for (size_t k = 0; k < n_more; k++) replaced = replaced || strncmp(more[k], environ[i], name) == 0;
        if (!replaced) all[out++] = environ[i];
    }
    for (size_t k = 0; all && k < n_more; k++) all[out++] = more[k];
    return all;
}

typedef struct Ends {
    int in[2], out[2], err[2]; /* [0] is read */
} Ends;

static void close_ends(Ends *e) {
    for (int i = 0; i < 2; i++) {
        close_end(&e->in[i]);
        close_end(&e->out[i]);
        close_end(&e->err[i]);
    }
}

static int set_streams(posix_spawn_file_actions_t *a, const OsChildSpec *spec, const Ends *e) {
    int bad = spec->folder ? posix_spawn_file_actions_addchdir_np(a, spec->folder) : 0;
    if (!bad) bad = posix_spawn_file_actions_adddup2(a, e->in[0], STDIN_FILENO);
    if (!bad) bad = posix_spawn_file_actions_adddup2(a, e->out[1], STDOUT_FILENO);
    if (!bad && spec->err == OS_CHILD_ERR_WITH_OUT) bad = posix_spawn_file_actions_adddup2(a, e->out[1], STDERR_FILENO);
    if (!bad && spec->err == OS_CHILD_ERR_APART) bad = posix_spawn_file_actions_adddup2(a, e->err[1], STDERR_FILENO);
    if (!bad && spec->err == OS_CHILD_ERR_DROPPED)
        bad = posix_spawn_file_actions_addopen(a, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (!bad) bad = posix_spawn_file_actions_addclosefrom_np(a, STDERR_FILENO + 1); /* neither model files nor rings */
    return bad;
}

/* Signals as a fresh program has them, and no terminal: Ctrl-C is ours, and nobody asks for a password behind our back. */
static int set_attributes(posix_spawnattr_t *a) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int bad = posix_spawnattr_setsigmask(a, &none);
    if (!bad) bad = posix_spawnattr_setsigdefault(a, &all);
    if (!bad) bad = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return bad;
}

/* posix_spawn and not fork: the page tables of a process that holds a model are large, and are not copied here. */
static int spawn(OsChild *c, const OsChildSpec *spec, const Ends *e) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    const char **env = join_environment(spec->env);
    if (!env) return ENOMEM;
    int bad = posix_spawn_file_actions_init(&actions);
    if (!bad) {
        bad = posix_spawnattr_init(&attributes);
        if (!bad) bad = set_streams(&actions, spec, e);
        if (!bad) bad = set_attributes(&attributes);
        /* neither list is changed; posix_spawn is older than const */
        if (!bad) bad = posix_spawnp(&c->pid, spec->argv[0], &actions, &attributes, (char **)spec->argv, (char **)env);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
    }
    mem_free(env);
    return bad;
}

ErrCode os_child_start(OsChild *c, const OsChildSpec *spec, Err *err) {
    Ends e = {{-1, -1}, {-1, -1}, {-1, -1}};
    *c = (OsChild){.in = -1, .out = -1, .err = -1};
    bool apart = spec->err == OS_CHILD_ERR_APART;
    int bad = pipe2(e.in, O_CLOEXEC) || pipe2(e.out, O_CLOEXEC) || (apart && pipe2(e.err, O_CLOEXEC)) ? errno : 0;
    if (!bad) bad = spawn(c, spec, &e);
    if (bad) {
        close_ends(&e);
        c->pid = 0;
        return err_set(err, ERR_IO, "%.200s cannot be started%s%.200s: %s", spec->argv[0], spec->folder ? " in " : "",
                       spec->folder ? spec->folder : "", strerror(bad));
    }
    c->in = e.in[1], e.in[1] = -1;
    c->out = e.out[0], e.out[0] = -1;
    c->err = e.err[0], e.err[0] = -1;
    close_ends(&e);
    int *ours[] = {&c->in, &c->out, &c->err};
    for (size_t i = 0; i < COUNT_OF(ours); i++)
        if (*ours[i] >= 0) (void)fcntl(*ours[i], F_SETFL, fcntl(*ours[i], F_GETFL) | O_NONBLOCK);
    return ERR_OK;
}

/* ---- talking ----------------------------------------------------------------------------------------------------- */

/* write() to a program that has gone away raises a signal, which would end ours. */
static ssize_t write_quietly(int fd, const char *bytes, size_t len) {
    sigset_t pipe_signal, before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t n = write(fd, bytes, len);
    int cause = errno;
    if (n < 0 && cause == EPIPE && !sigismember(&before, SIGPIPE)) (void)sigtimedwait(&pipe_signal, NULL, &(struct timespec){0, 0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = cause;
    return n;
}

static void send_some(OsChild *c, Str *input) {
    ssize_t n = write_quietly(c->in, input->ptr, input->len);
    if (n > 0) *input = str_make(input->ptr + n, input->len - (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR) os_child_end_input(c); /* it reads no more */
}

/* At most so much at a time: who asks must see in between whether it is enough. */
static void hear_some(int *fd, bool is_err, OsChildHeard *heard, void *user) {
    char block[16384];
    ssize_t n = read(*fd, block, sizeof block);
    if (n > 0) heard(user, is_err, block, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) close_end(fd);
}

bool os_child_move(OsChild *c, Str *input, uint64_t wait_ns, OsChildHeard *heard, void *user) {
    struct pollfd fds[3] = {{c->out, POLLIN, 0}, {c->err, POLLIN, 0}, {input->len ? c->in : -1, POLLOUT, 0}};
    struct timespec wait = {(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
    if (ppoll(fds, COUNT_OF(fds), &wait, NULL) <= 0) return c->out >= 0 || c->err >= 0;
    if (fds[2].revents) send_some(c, input); /* before what is heard makes somebody add to it */
    if (fds[0].revents) hear_some(&c->out, false, heard, user);
    if (fds[1].revents) hear_some(&c->err, true, heard, user);
    return c->out >= 0 || c->err >= 0;
}

void os_child_end_input(OsChild *c) { close_end(&c->in); }

/* ---- ending ------------------------------------------------------------------------------------------------------ */

static int status_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

bool os_child_ended(OsChild *c) {
    int status;
    if (c->pid && !c->ended && waitpid(c->pid, &status, WNOHANG) == c->pid) {
        c->ended = true;
        c->status = status_of(status);
    }
    return !c->pid || c->ended;
}

void os_child_end(OsChild *c) {
    int status;
    if (!c->pid) return;
    (void)kill(-c->pid, SIGKILL); /* the group may live on where its first process does not */
    while (!c->ended && waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {}
    if (!c->ended) c->status = status_of(status);
    close_end(&c->in);
    close_end(&c->out);
    close_end(&c->err);
    c->ended = true;
    c->pid = 0;
}
