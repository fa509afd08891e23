/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "p2p/foreign.h"

#define SLICE_BYTES  (64u << 20)
#define BUFFER_BYTES (256u << 10)

enum place_step { STEP_PLACE, STEP_COPY, STEP_CHECK, STEP_DONE };

struct place {
	struct foreign *foreign;
	struct place_want w;
	void (*fn)(void *arg, const struct outcome *why, enum place_how how);
	void *arg;
	struct foreign_op work;
	/* of the work */
	enum place_step step;
	enum place_how how;
	atomic_bool stop;
	atomic_ullong pos;
	struct digest *digest;
	uint8_t *buf;
	char got[DIGEST_TEXT];
};

const char *place_how_name(enum place_how h)
{
	switch (h) {
	case PLACE_REFLINK:
		return "reflink";
	case PLACE_COPY:
		return "copy";
	case PLACE_NOTHING:
		break;
	}
	return "nothing";
}

/* after the bytes are there: the digest is of what the reader will see, so it is read from the output */
static void next_step(struct place *p)
{
	atomic_store(&p->pos, 0);
	p->step = p->w.has_digest ? STEP_CHECK : STEP_DONE;
}

static int check_slice(struct place *p, uint64_t pos, uint64_t n)
{
	int fd = p->w.to, mode = fd >= 0 ? fcntl(fd, F_GETFL) & O_ACCMODE : O_WRONLY;

	if (mode == O_WRONLY) /* cannot be read back */
		fd = p->w.from;

	while (n && !atomic_load(&p->stop)) {
		size_t k = n < BUFFER_BYTES ? (size_t)n : BUFFER_BYTES;
		ssize_t got = fd_pread_full(fd, p->buf, k, pos);

		if (got < 0)
			return (int)got;
		if ((size_t)got < k)
			return -ENODATA;
		digest_update(p->digest, p->buf, k);
		pos += k;
		n -= k;
	}
	return 0;
}

static int work(void *arg)
{
	struct place *p = arg;
	uint64_t pos = atomic_load(&p->pos), n = p->w.length - pos;
	struct stat st;
	int r;

	if (n > SLICE_BYTES)
		n = SLICE_BYTES;
	switch (p->step) {
	case STEP_PLACE:
		if (p->w.to < 0) {
			next_step(p);
			return 0;
		}
		/* Asked here and not on the loop: the file system behind a caller's descriptor
		 * may take its time. */
		if (fstat(p->w.to, &st) < 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return -ENOTSUP;
		/* an output that is reused must not keep what it had */
		if (ftruncate(p->w.to, 0) < 0)
			return -errno;
		if (p->w.length && fd_reflink(p->w.from, p->w.to) == 0) {
			p->how = PLACE_REFLINK;
			next_step(p);
			return 0;
		}
		p->how = PLACE_COPY;
		if (ftruncate(p->w.to, (off_t)p->w.length) < 0)
			return -errno;
		p->step = STEP_COPY;
		return 0;
	case STEP_COPY:
		r = fd_copy_sparse(p->w.from, p->w.to, pos, n);
		if (r < 0)
			return r;
		break;
	case STEP_CHECK:
		r = check_slice(p, pos, n);
		if (r < 0)
			return r;
		break;
	case STEP_DONE:
		return 0;
	}
	pos += n;
	atomic_store(&p->pos, pos);
	if (pos == p->w.length) {
		if (p->step == STEP_CHECK) {
			digest_final(p->digest, p->got);
			p->step = STEP_DONE;
		} else {
			next_step(p);
		}
	}
	return 0;
}

static void on_work(struct foreign_op *op, int res)
{
	struct place *p = container_of(op, struct place, work);
	struct outcome why = {.status = RPC_OK};

	if (atomic_load(&p->stop)) {
		outcome_set(&why, RPC_CANCELLED, "cancelled");
	} else if (res == -ENODATA) {
		outcome_set(&why, RPC_DATA_LOSS, "the data in the store is shorter than the task");
	} else if (res == -ENOTSUP) {
		outcome_set(&why, RPC_INVALID_ARGUMENT, "the output is not a regular file");
	} else if (res < 0) {
		outcome_set(&why, status_from_errno(-res), "the output cannot be written: %s",
			strerror(-res));
	} else if (p->step != STEP_DONE) {
		foreign_work(p->foreign, &p->work, p->w.uid, work, p);
		return;
	} else if (p->w.has_digest && strcmp(p->got, p->w.digest) != 0) {
		outcome_set(&why, RPC_DATA_LOSS, "digest mismatch expected: %s, actual: %s",
			p->w.digest, p->got);
	}
	p->fn(p->arg, &why, p->how);
	digest_free(p->digest);
	free(p->buf);
	free(p);
}

struct place *place_start(struct foreign *f, const struct place_want *w,
	void (*fn)(void *arg, const struct outcome *why, enum place_how how), void *arg)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->foreign = f;
	p->w = *w;
	p->fn = fn;
	p->arg = arg;
	foreign_op_init(&p->work, on_work);
	if (w->has_digest) {
		p->buf = malloc(BUFFER_BYTES);
		p->digest = digest_new(w->algorithm);
		if (!p->buf || !p->digest) {
			free(p->buf);
			digest_free(p->digest);
			free(p);
			return NULL;
		}
	}
	foreign_work(f, &p->work, w->uid, work, p);
	return p;
}

void place_cancel(struct place *p)
{
	atomic_store(&p->stop, true);
}

uint64_t place_bytes(const struct place *p)
{
	return atomic_load(&p->pos);
}
