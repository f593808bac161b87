/* Writing a trace. A step is gathered in memory and written when the next one begins, so that the file never holds half a step. */
#define _XOPEN_SOURCE 700 /* fsync, fileno */
#include "lab/trace.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct LabTraceWriter {
    LabTraceFacts facts;
    char *path, *temporary; /* temporary NULL: written in place */
    int fd;
    Buf step;               /* the wants of the step that runs */
    Buf routing;            /* picks of the layer that runs: [n][k] */
    Buf weights;
    uint32_t layer, position, n_tokens, n_wants; /* of the step that runs; n_tokens 0: none does */
    uint32_t wants_per_step; /* of a whole step: the most that one had */
    uint64_t steps, bytes;
    Err err;                /* the first failure; nothing is recorded after it */
};

static void put_number(Buf *b, uint64_t value, int bytes) {
    unsigned char raw[8];
    for (int i = 0; i < bytes; i++) raw[i] = (unsigned char)(value >> (8 * i));
    buf_put(b, raw, (size_t)bytes);
}

static void write_out(LabTraceWriter *w, const char *bytes, size_t len) {
    while (len > 0 && !w->err.code) {
        ssize_t n = write(w->fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            err_set(&w->err, ERR_IO, "%s: writing the trace failed at offset %llu: %s; make room or write it elsewhere. The run itself is "
                    "not affected", w->path, (unsigned long long)w->bytes, n < 0 ? strerror(errno) : "nothing was written");
            return;
        }
        bytes += n;
        len -= (size_t)n;
        w->bytes += (uint64_t)n;
    }
}

static void free_writer(LabTraceWriter *w) {
    if (w->fd >= 0) close(w->fd);
    if (w->temporary) unlink(w->temporary);
    mem_free(w->temporary);
    mem_free(w->path);
    buf_free(&w->step);
    buf_free(&w->routing);
    buf_free(&w->weights);
    mem_free(w);
}

LabTraceWriter *lab_trace_new(const char *path, const LabTraceFacts *facts, Err *err) {
    if (!facts->layers || facts->layers > TRACE_LAYERS_MAX || !facts->experts || facts->experts > TRACE_EXPERTS_MAX || !facts->top_k ||
        facts->top_k > facts->experts) {
        err_set(err, ERR_UNSUPPORTED, "%s: a trace of %u layers, %u experts and %u per token cannot be written", path, facts->layers,
                facts->experts, facts->top_k);
        return NULL;
    }
    LabTraceWriter *w = MEM_NEW(LabTraceWriter, 1);
    if (w) w->fd = -1, w->facts = *facts, w->path = mem_strdup(path);
    if (!w || !w->path) {
        err_no_memory(err, sizeof *w, "a trace");
        mem_free(w);
        return NULL;
    }
    if (os_create_beside(w->path, &w->temporary, &w->fd, err)) {
        free_writer(w);
        return NULL;
    }
    const uint32_t numbers[] = {TRACE_VERSION, facts->layers, facts->experts, facts->top_k, facts->slots};
    Buf header = {0};
    buf_puts(&header, TRACE_MAGIC);
    for (size_t i = 0; i < COUNT_OF(numbers); i++) put_number(&header, numbers[i], 4);
    put_number(&header, facts->record_bytes, 8);
    buf_put(&header, facts->model, sizeof facts->model);
    if (header.failed) err_no_memory(&w->err, TRACE_HEADER_BYTES, "a trace");
    else write_out(w, header.ptr, header.len);
    buf_free(&header);
    return w; /* a disk that is full already is told at the end, as one that fills up later */
}

/* The step that ran is over: it is written, if it is whole. */
static void end_step(LabTraceWriter *w) {
    if (w->n_wants > w->wants_per_step) w->wants_per_step = w->n_wants;
    if (w->step.failed || w->routing.failed || w->weights.failed) err_no_memory(&w->err, w->step.len + w->routing.len, "a step of a trace");
    if (w->n_tokens && w->n_wants == w->wants_per_step && !w->err.code) {
        Buf head = {0};
        buf_putc(&head, 'S');
        put_number(&head, w->position, 4);
        put_number(&head, w->n_tokens, 4);
        put_number(&head, w->n_wants, 4);
        if (head.failed) err_no_memory(&w->err, TRACE_STEP_BYTES, "a trace");
        else write_out(w, head.ptr, head.len);
        write_out(w, w->step.ptr, w->step.len);
        buf_free(&head);
        if (!w->err.code) w->steps++;
    }
    buf_clear(&w->step);
    w->n_tokens = w->n_wants = 0;
}

void lab_trace_routing(void *writer, int layer, int position, int k, const int32_t *experts, const float *weights) {
    LabTraceWriter *w = writer;
    (void)layer;
    (void)position;
    if (w->err.code) return;
    if ((uint32_t)k != w->facts.top_k) {
        err_set(&w->err, ERR_STATE, "%s: a token chose %d experts, not %u", w->path, k, w->facts.top_k);
        return;
    }
    for (int i = 0; i < k; i++) {
        put_number(&w->routing, (uint64_t)experts[i], (int)trace_pick_bytes(w->facts.experts));
        put_number(&w->weights, quant_f32_to_f16(weights[i]), 2);
    }
}

void lab_trace_fetch(void *writer, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns) {
    LabTraceWriter *w = writer;
    if (w->err.code) return;
    if (w->n_tokens && ((uint32_t)layer <= w->layer || (uint32_t)position != w->position)) end_step(w);
    size_t picks = (size_t)n * w->facts.top_k;
    if (!w->routing.failed && w->routing.len != picks * trace_pick_bytes(w->facts.experts))
        err_set(&w->err, ERR_STATE, "%s: the routing of layer %d does not belong to its fetch", w->path, layer);
    w->position = (uint32_t)position;
    w->n_tokens = (uint32_t)n;
    w->layer = (uint32_t)layer;
    w->n_wants++;
    uint64_t wait_us = wait_ns / 1000;
    put_number(&w->step, (uint64_t)layer, 2);
    put_number(&w->step, hit ? TRACE_HITS_KNOWN : 0, 1);
    put_number(&w->step, (uint64_t)n_wanted, 4);
    put_number(&w->step, wait_us < UINT32_MAX ? wait_us : UINT32_MAX, 4);
    buf_put(&w->step, w->routing.ptr, w->routing.len);
    buf_put(&w->step, w->weights.ptr, w->weights.len);
    unsigned bits = 0;
    for (int i = 0; i < n_wanted; i++) {
        if (i > 0 && experts[i] <= experts[i - 1]) err_set(&w->err, ERR_STATE, "%s: the wanted experts are not in order", w->path);
        bits |= (hit && hit[i] == SLUICE_HIT ? 1u : 0u) << (i % 8);
        if (i % 8 != 7 && i + 1 < n_wanted) continue;
        buf_putc(&w->step, (char)bits);
        bits = 0;
    }
    buf_clear(&w->routing);
    buf_clear(&w->weights);
}

ErrCode lab_trace_finish(LabTraceWriter *w, uint64_t *bytes, uint64_t *steps, Err *err) {
    end_step(w);
    unsigned char end[TRACE_END_BYTES] = {'E'};
    for (int i = 0; i < 8; i++) end[1 + i] = (unsigned char)(w->steps >> (8 * i));
    write_out(w, (const char *)end, sizeof end);
    if (!w->err.code && w->temporary && fsync(w->fd) != 0)
        err_set(&w->err, ERR_IO, "%s: cannot sync the trace: %s", w->path, strerror(errno));
    if (close(w->fd) != 0 && !w->err.code) err_set(&w->err, ERR_IO, "%s: cannot close the trace: %s", w->path, strerror(errno));
    w->fd = -1;
    if (!w->err.code && w->temporary) {
        if (rename(w->temporary, w->path) != 0) {
            err_set(&w->err, ERR_IO, "%s: cannot rename to %s: %s", w->temporary, w->path, strerror(errno));
        } else {
            mem_free(w->temporary);
            w->temporary = NULL;
        }
    }
    if (bytes) *bytes = w->bytes;
    if (steps) *steps = w->steps;
    ErrCode code = w->err.code ? err_set(err, w->err.code, "%s", w->err.text) : ERR_OK;
    free_writer(w);
    return code;
}
