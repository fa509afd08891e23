/* SPDX-License-Identifier: GPL-2.0-or-later */
/* writer.h — a thread that writes content to files while the loop receives more of it: of two copies
 * that every byte needs, each has a processor of its own.
 *
 * The bytes stay where the socket was read into: a few buffers in turn, and the loop waits when the
 * writer has not finished with the next one. So a slow file slows the loop, as writing in place would.
 */
#ifndef DFCACHE_WRITER_H
#define DFCACHE_WRITER_H

#include <stddef.h>
#include <stdint.h>

struct writer;

/* one file being written; the owner's */
struct writer_file {
	int fd;
	/* private */
	unsigned n_queued;
	int error;
};

int writer_new(struct writer **out);
struct writer *writer_free(struct writer *w);
/* writer_buffer - the next buffer to receive into; waits until nothing in it is to be written */
uint8_t *writer_buffer(struct writer *w, size_t *len);
/* writer_put - write @n bytes at @off, leaving out blocks of zeros (the file has its length already
 * and is empty). @p is in the buffer that writer_buffer() gave last. 0, or the first -errno so far. */
int writer_put(struct writer *w, struct writer_file *f, const uint8_t *p, size_t n, uint64_t off);
/* writer_finish - all that was put is written; 0, or the first -errno */
int writer_finish(struct writer *w, struct writer_file *f);

#endif
