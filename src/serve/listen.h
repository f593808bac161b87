/* serve/listen: the address that is listened on. */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include "base/base.h"

typedef struct ServeListen {
    int fd, port;
    bool loopback, ipv6;
} ServeListen;
ErrCode serve_listen(const char *host, int port, ServeListen *l, Err *err);

#endif
