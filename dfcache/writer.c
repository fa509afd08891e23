/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"

#define N_BUFFERS    3
#define BUFFER_BYTES ((size_t)256 << 10)
#define QUEUE        64
#define ZERO_BLOCK   4096

struct item {
	struct writer_file *file;
	const uint8_t *p;
	size_t n;
	uint64_t off;
	unsigned buffer;
};

struct writer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	uint8_t *buffers[N_BUFFERS];
	unsigned n_of[N_BUFFERS]; /* items that lie in it */
	unsigned current;
	struct item queue[QUEUE];
	unsigned first, n;
	bool has_thread, is_ending;
};

static bool is_zero(const uint8_t *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* write_sparse - blocks of zeros are left out: the file has its length already, so they are holes */
static int write_sparse(int fd, const uint8_t *p, size_t n, uint64_t off)
{
	size_t at = 0;

	while (at < n) {
		size_t end = at, k = 0;

		for (; end < n; end += k) {
			k = ZERO_BLOCK - (off + end) % ZERO_BLOCK;
			k = k < n - end ? k : n - end;
			if (is_zero(p + end, k))
				break;
		}
		if (end > at) {
			int r = fd_pwrite_full(fd, p + at, end - at, off + at);

			if (r < 0)
				return r;
		}
		at = end < n ? end + k : n;
	}
	return 0;
}

static void *run(void *arg)
{
	struct writer *w = arg;

	pthread_mutex_lock(&w->lock);
	while (1) {
		struct item it;
		int r = 0;

		while (!w->n && !w->is_ending)
			pthread_cond_wait(&w->work, &w->lock);
		if (!w->n)
			break;
		it = w->queue[w->first];
		if (!it.file->error) {
			pthread_mutex_unlock(&w->lock);
			r = write_sparse(it.file->fd, it.p, it.n, it.off);
			pthread_mutex_lock(&w->lock);
		}
		if (r < 0)
			it.file->error = r;
		it.file->n_queued--;
		w->n_of[it.buffer]--;
		w->first = (w->first + 1) % QUEUE;
		w->n--;
		pthread_cond_signal(&w->done);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int writer_new(struct writer **out)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	for (unsigned i = 0; i < N_BUFFERS; i++) {
		w->buffers[i] = malloc(BUFFER_BYTES);
		if (!w->buffers[i]) {
			writer_free(w);
			return -ENOMEM;
		}
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->work, NULL);
	pthread_cond_init(&w->done, NULL);
	/* without a thread everything is written in place. It inherits the signals that the loop
	 * has blocked and waits for. */
	w->has_thread = pthread_create(&w->thread, NULL, run, w) == 0;
	*out = w;
	return 0;
}

struct writer *writer_free(struct writer *w)
{
	if (!w)
		return NULL;
	if (w->has_thread) {
		pthread_mutex_lock(&w->lock);
		w->is_ending = true;
		pthread_cond_signal(&w->work);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
	}
	for (unsigned i = 0; i < N_BUFFERS; i++)
		free(w->buffers[i]);
	free(w);
	return NULL;
}

uint8_t *writer_buffer(struct writer *w, size_t *len)
{
	pthread_mutex_lock(&w->lock);
	/* the same one again while nothing of it is to be written */
	if (w->n_of[w->current])
		w->current = (w->current + 1) % N_BUFFERS;
	while (w->n_of[w->current])
		pthread_cond_wait(&w->done, &w->lock);
	pthread_mutex_unlock(&w->lock);
	*len = BUFFER_BYTES;
	return w->buffers[w->current];
}

int writer_put(struct writer *w, struct writer_file *f, const uint8_t *p, size_t n, uint64_t off)
{
	int r;

	if (!w->has_thread) {
		if (!f->error)
			f->error = write_sparse(f->fd, p, n, off);
		return f->error;
	}
	pthread_mutex_lock(&w->lock);
	while (w->n == QUEUE)
		pthread_cond_wait(&w->done, &w->lock);
	w->queue[(w->first + w->n++) % QUEUE] = (struct item){f, p, n, off, w->current};
	w->n_of[w->current]++;
	f->n_queued++;
	r = f->error;
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
	return r;
}

int writer_finish(struct writer *w, struct writer_file *f)
{
	int r;

	pthread_mutex_lock(&w->lock);
	while (f->n_queued)
		pthread_cond_wait(&w->done, &w->lock);
	r = f->error;
	pthread_mutex_unlock(&w->lock);
	return r;
}
