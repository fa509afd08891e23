/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tasks.h — the tasks that this daemon has in hand: being fetched, or complete and open for reading.
 *
 * The truth about what is here is the store's; this room keeps the read leases of tasks in use (and for
 * a moment after, so that a child that asks piece after piece does not open the task each time),
 * knows which pieces are present with their crc32, and tells watchers as pieces arrive. Vortex server,
 * piece announcements and exports all read through it. Of a piece that is just arriving it knows how far
 * it is, so that it can be passed on meanwhile (task_follow).
 *
 * One struct task per id. It is reference-counted; `read_fd` is good for as long as a reference is
 * held, whatever happens to the task in the store. Callbacks come from the loop. Not thread-safe.
 */
#ifndef P2P_TASKS_H
#define P2P_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cachefilesd/api/store.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/map.h"
#include "p2p/attrs.h"
#include "p2p/status.h"

struct tasks;

enum task_phase {
	TASK_OPENING, /* the store was asked; not seen by users */
	TASK_FETCHING,
	TASK_COMPLETE,
	TASK_OVER, /* failed, deleted or closing: `why` says so; references keep it readable */
};

#define TASK_MAX_PARENTS 64 /* whose names are kept for the events of exports */

struct task {
	/* read-only for users */
	char id[TASK_ID_SIZE];
	enum task_phase phase;
	uint64_t length, generation, expires_ns, created_ns;
	uint32_t piece_length, n_pieces, n_present;
	uint8_t fingerprint
		[STORE_FPRINT_SIZE]; /* all zero while fetching from a scheduler that knows none */
	uid_t uid;
	struct task_attrs attrs;
	int read_fd; /* borrowed with the reference */
	struct outcome why;
	/* private */
	struct tasks *owner;
	struct map_node node;
	unsigned n_refs;
	bool has_lease, op_busy, work_busy, is_releasing;
	uint32_t lease;
	int record_fd;
	uint64_t *present;
	uint32_t *crcs;
	uint8_t *
		from; /* by piece: 1 + index into parents, 0 unknown; NULL until the first is known */
	char *parents[TASK_MAX_PARENTS];
	struct list watchers, openers, link, arriving;
	uint64_t idle_since;
	struct store_op op;
	struct loop_op work;
	struct loop_op post;
};

struct tasks_options {
	uint64_t idle_ns; /* how long an unused task keeps its lease; 0 = 10 s */
	unsigned max_idle; /* how many; 0 = 32 */
};

int tasks_new(struct tasks **out, struct loop *l, struct store_client *store,
	const struct tasks_options *o);
/* tasks_close - leases of unused tasks are given back; `tasks_is_idle` then tells when all are gone
 * (users must have dropped their references) */
void tasks_close(struct tasks *ts);
bool tasks_is_idle(const struct tasks *ts);
struct tasks *tasks_free(struct tasks *ts); /* idle only; returns NULL */
void tasks_on_store_event(struct tasks *ts, enum store_event e);

/* Opening: embedded in the owner, in flight until fn. */
struct task_open {
	/* @t: a reference that the callee owns, FETCHING or COMPLETE; or NULL and why (NOT_FOUND when
	 * the task is not here) */
	void (*fn)(struct task_open *o, struct task *t, const struct outcome *why);
	struct list link; /* private */
};
void tasks_open(struct tasks *ts, struct task_open *o, const char *id);
void task_open_cancel(struct task_open *o); /* fn is not called any more */
/* tasks_find - what is in hand at once, without asking the store; NULL if nothing. The caller owns
 * the reference. */
struct task *tasks_find(struct tasks *ts, const char *id);

struct task *task_ref(struct task *t);
struct task *task_unref(struct task *t); /* NULL allowed; returns NULL */
bool task_has_piece(const struct task *t, uint32_t number);
uint32_t task_crc32(const struct task *t, uint32_t number); /* of a piece that is present */
uint32_t task_piece_size(const struct task *t, uint32_t number);
/* task_parent - the peer that a piece came from while this daemon fetched it; NULL: not known */
const char *task_parent(const struct task *t, uint32_t number);

/* Watching: on_piece for each piece that arrives after task_watch(), on_phase when the task became
 * COMPLETE or OVER. Callbacks may unwatch anything. */
struct task_watch {
	void (*on_piece)(struct task_watch *w, struct task *t, uint32_t number);
	/* on_arriving - its first bytes are coming; NULL: not told */
	void (*on_arriving)(struct task_watch *w, struct task *t, uint32_t number);
	void (*on_phase)(struct task_watch *w, struct task *t);
	struct list link; /* private */
};
void task_watch(
	struct task *t, struct task_watch *w); /* the watcher holds a reference of its own */
void task_unwatch(struct task_watch *w);

/* Following a piece that is arriving: embedded in the owner, from task_follow() to on_end or
 * task_unfollow(). Its bytes in the file are not verified before on_end(whole). */
struct task_follow {
	void (*on_growth)(struct task_follow *f, uint32_t n_bytes); /* so many are in the file */
	/* on_end - the piece is present now, or (not whole) it does not come from there */
	void (*on_end)(struct task_follow *f, bool whole);
	struct list link; /* private */
};
struct task_arrival {
	uint32_t crc32; /* as announced */
	uint32_t n_bytes; /* in the file so far */
	const char *from; /* the peer that it comes from; borrowed until the end */
};
bool task_is_arriving(const struct task *t, uint32_t number);
/* task_follow - false: the piece is not arriving; @f is not in flight then */
bool task_follow(struct task *t, uint32_t number, struct task_follow *f, struct task_arrival *out);
void task_unfollow(struct task_follow *f); /* safe when not in flight */

/* ---- for fetch.c ------------------------------------------------------------------------- */
struct tasks_fetch {
	const char *id;
	uint64_t length, generation, expires_ns, created_ns;
	uint32_t piece_length, n_pieces;
	const uint8_t *fingerprint; /* NULL = unknown */
	uid_t uid;
	const struct task_attrs *attrs;
	int read_fd; /* owned by the task from now on, also on failure */
};
/* tasks_begin - a FETCHING task; 0, -EEXIST (the id is in hand already), -ENOMEM. *out is the
 * fetch's reference. */
int tasks_begin(struct tasks *ts, const struct tasks_fetch *f, struct task **out);
/* task_arrived - @parent_id NULL: it was here before the fetch */
void task_arrived(struct task *t, uint32_t number, uint32_t crc32, const char *parent_id);
/* task_arriving - @n_bytes of a piece are in the file, of which @crc32 was announced; the first call
 * begins its arrival, task_arrived() or task_arrival_lost() ends it. Without memory nobody follows. */
void task_arriving(
	struct task *t, uint32_t number, uint32_t crc32, uint32_t n_bytes, const char *parent_id);
void task_arrival_lost(
	struct task *t, uint32_t number); /* nothing happens if it was not arriving */
/* task_completed - it was committed; a read lease is taken in the background */
void task_completed(struct task *t, const uint8_t fingerprint[STORE_FPRINT_SIZE]);
void task_failed(struct task *t, const struct outcome *why);

/* tasks_forget - the task is being deleted: nobody finds it here any more, an unused lease is given
 * back, watchers are told (OVER) */
void tasks_forget(struct tasks *ts, const char *id, const struct outcome *why);

#endif
