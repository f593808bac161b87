/* Jobs that wait for the worker: a list of bounded length. */
#include "serve/inside.h"

bool serve_queue_init(ServeQueue *q, int most) {
    *q = (ServeQueue){.most = most};
    if (pthread_mutex_init(&q->lock, NULL)) return false;
    if (pthread_cond_init(&q->changed, NULL) == 0) return true;
    pthread_mutex_destroy(&q->lock);
    return false;
}

void serve_queue_free(ServeQueue *q) {
    pthread_cond_destroy(&q->changed);
    pthread_mutex_destroy(&q->lock);
}

bool serve_queue_put(ServeQueue *q, ServeJob *job) {
    pthread_mutex_lock(&q->lock);
    bool room = q->inside < q->most && !q->closed;
    if (room) {
        job->after = NULL;
        if (q->last) q->last->after = job;
        else q->first = job;
        q->last = job;
        q->inside++;
        pthread_cond_signal(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return room;
}

ServeJob *serve_queue_take_all(ServeQueue *q, bool wait) {
    pthread_mutex_lock(&q->lock);
    while (wait && !q->first && !q->woken) pthread_cond_wait(&q->changed, &q->lock);
    ServeJob *jobs = q->first;
    q->first = q->last = NULL;
    q->woken = false;
    pthread_mutex_unlock(&q->lock);
    return jobs;
}

void serve_queue_left(ServeQueue *q) {
    pthread_mutex_lock(&q->lock);
    q->inside--;
    pthread_mutex_unlock(&q->lock);
}

void serve_queue_wake(ServeQueue *q) {
    pthread_mutex_lock(&q->lock);
    q->woken = true;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

ServeJob *serve_queue_close(ServeQueue *q) {
    pthread_mutex_lock(&q->lock);
    ServeJob *jobs = q->first;
    q->first = q->last = NULL;
    q->closed = true;
    pthread_mutex_unlock(&q->lock);
    return jobs;
}

int serve_queue_inside(ServeQueue *q) {
    pthread_mutex_lock(&q->lock);
    int n = q->inside;
    pthread_mutex_unlock(&q->lock);
    return n;
}
