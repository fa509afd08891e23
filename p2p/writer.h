/* SPDX-License-Identifier: GPL-2.0-or-later */
/* writer.h — one task being written into the store: create, pieces, commit, or nothing at all.
 *
 * Used by import and fetch. Owns the writable lease and both descriptors of the data; makes the
 * data durable before commit; comes back (attach) when cachefilesd restarts, so the bytes keep
 * moving meanwhile. Everything is asynchronous on the loop; callbacks never run from inside a call
 * made here and never after writer_close().
 */
#ifndef P2P_WRITER_H
#define P2P_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cachefilesd/api/store.h"

struct loop;
struct writers;
struct writer;

/* All writers of this daemon: they share the session with the store. */
int writers_new(struct writers **out, struct loop *l, struct store_client *store);
/* writers_free - every writer was closed and writers_is_idle(); returns NULL */
struct writers *writers_free(struct writers *ws);
bool writers_is_idle(const struct writers *ws);
void writers_on_store_event(struct writers *ws, enum store_event e);

struct writer_ops {
	/* on_open - the answer to the create; once. With STORE_OK the descriptors are there, and
	 * @r->info.n_present pieces when the store had a part of it; their table is in
	 * @r->record_fd. @r is valid during the callback and its descriptors stay the writer's.
	 * After another status only writer_close() is left to do. */
	void (*on_open)(void *arg, const struct store_reply *r);
	/* on_lost - the task cannot be finished any more (the store refused pieces, or came back
	 * without it). Only writer_close() is left to do. */
	void (*on_lost)(void *arg, enum store_status status, const char *message);
	/* on_commit - the answer to writer_commit(); once. STORE_OK and STORE_EXISTS_SAME: the task
	 * is durable in the store. */
	void (*on_commit)(void *arg, enum store_status status, const char *message);
};

/* writer_new - asks for the task; *rq and what it points to are copied. NULL: out of memory. */
struct writer *writer_new(struct writers *ws, const struct store_create *rq, uint32_t n_pieces,
	const struct writer_ops *ops, void *arg);
int writer_fd(const struct writer *w); /* read and write; borrowed; -1 after writer_commit() */
int writer_read_fd(const struct writer *w); /* read only; borrowed */
int writer_take_read_fd(struct writer *w); /* the caller owns it from now on */
/* writer_piece - the data of piece @number is in the file. Each number once. */
void writer_piece(struct writer *w, uint32_t number, uint32_t crc32);
uint32_t writer_n_pieces(const struct writer *w); /* told so far */
/* writer_commit - nobody writes through writer_fd() any more: it is made durable and closed here */
void writer_commit(struct writer *w, const char *id, const uint8_t fingerprint[STORE_FPRINT_SIZE]);
/* writer_keep - what is there stays in the store when this is closed without a commit, for a create of
 * the same task to go on with */
void writer_keep(struct writer *w);
/* writer_close - done with it; what is not committed is dropped from the store. A pool thread may
 * not be using the descriptors. Returns NULL. */
struct writer *writer_close(struct writer *w);

#endif
