/* Backends and ways of reading by name. */
#include "disk/backend.h"

const Backend *disk_backend_of(DiskBackend backend) {
    static const Backend *const backends[DISK_BACKENDS] = {
#define X(NAME, name) &disk_backend_##name,
        DISK_LIST(X)
#undef X
    };
    return (unsigned)backend < DISK_BACKENDS ? backends[backend] : NULL;
}

ErrCode disk_words(const char *io, const char *direct, DiskChoose *how, Err *err) {
    enum { ANY = -1 };
#define X(NAME, name) {#name, DISK_##NAME},
    static const Word ios[] = {{"auto", ANY}, DISK_FOR_USERS(X)};
#undef X
    static const Word directs[] = {{"auto", DISK_DIRECT_AUTO}, {"on", DISK_DIRECT_ON}, {"off", DISK_DIRECT_OFF}};
    int backend = ANY, mode = DISK_DIRECT_AUTO;
    ErrCode code = word_value("--io", ios, COUNT_OF(ios), io, &backend, err);
    if (!code) code = word_value("--direct", directs, COUNT_OF(directs), direct, &mode, err);
    if (code) return code;
    how->any_backend = backend == ANY;
    how->backend = how->any_backend ? DISK_THREADS : (DiskBackend)backend;
    how->direct = (DiskDirect)mode;
    return ERR_OK;
}
