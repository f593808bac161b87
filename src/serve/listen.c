/* The address that is listened on. */
#define _GNU_SOURCE
#include "serve/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    if (a->sa_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr) != 0;
    return false;
}

static ErrCode bind_to(const struct addrinfo *a, const char *host, int port, ServeListen *l, Err *err) {
    l->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
    int on = 1;
    if (l->fd < 0) return err_set(err, ERR_IO, "no socket for %s: %s", host, strerror(errno));
    (void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(l->fd, a->ai_addr, a->ai_addrlen) || listen(l->fd, 128)) {
        int why = errno;
        close(l->fd);
        l->fd = -1;
        return err_set(err, ERR_IO, "cannot listen on %s port %d: %s%s", host, port, strerror(why),
                       why == EADDRINUSE ? "; choose another with --port" : "");
    }
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char number[16] = "";
    if (getsockname(l->fd, (struct sockaddr *)&bound, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&bound, len, NULL, 0, number, sizeof number, NI_NUMERICSERV);
    l->port = (int)strtol(number, NULL, 10);
    return ERR_OK;
}

ErrCode serve_listen(const char *host, int port, ServeListen *l, Err *err) {
    struct addrinfo want = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    *l = (ServeListen){.fd = -1};
    int code = getaddrinfo(host, service, &want, &found);
    if (code) return err_set(err, ERR_USAGE, "--host %s: %s", host, gai_strerror(code));
    l->loopback = is_loopback(found->ai_addr);
    l->ipv6 = found->ai_family == AF_INET6;
    ErrCode result = bind_to(found, host, port, l, err);
    freeaddrinfo(found);
    return result;
}
