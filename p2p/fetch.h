/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fetch.h — ◆ bring one task here: stat → create → pieces from parents → verify → commit.
 *
 * Owns "which pieces, from whom, how many at once"; parents.c chooses, vortex/client moves one
 * piece, writer.c keeps the store informed, tasks.c tells those who watch. Everybody in this daemon who
 * wants the same task joins the same fetch; it stops when the last one leaves. A fetch that makes
 * no progress fails with a sentence that names the missing pieces, the parents tried and why each
 * failed.
 */
#ifndef P2P_FETCH_H
#define P2P_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "p2p/status.h"
#include "p2p/task_id.h"

struct channels;
struct fetches;
struct local;
struct loop;
struct sched;
struct store_client;
struct task;
struct tasks;
struct vortex_pool;
struct writers;

struct fetches_config {
	struct loop *loop;
	struct tasks *tasks;
	struct writers *writers;
	struct sched *sched;
	struct local *local;
	struct channels *channels;
	struct vortex_pool *pool;
	const char *host_id, *hostname, *ip; /* borrowed for the life of the room */
	unsigned concurrent_pieces; /* C; 0 = 8 */
	unsigned max_fetches; /* 0 = 64 */
	unsigned max_gets; /* buffers of the pool, shared by all fetches; 0 = no limit */
	uint64_t progress_ns; /* no byte for so long: fail; 0 = 30 s */
	uint64_t room_wait_ns; /* how long culling may take to make room; 0 = 30 s */
	uint64_t seed; /* of choices; 0 = from the kernel */
};

int fetches_new(struct fetches **out, const struct fetches_config *cfg);
/* fetches_close - all running ones fail with UNAVAILABLE */
void fetches_close(struct fetches *fs);
bool fetches_is_idle(const struct fetches *fs);
struct fetches *fetches_free(struct fetches *fs); /* idle only; returns NULL */
#define FETCH_N_OUTCOMES 16
struct fetches_stats {
	uint64_t n_running, n_done, n_failed, n_pieces, bytes, n_parents_lost;
	uint64_t n_undigested; /* of n_pieces: their parent had no digest to compare with */
	uint64_t n_stalled; /* of n_failed: no byte within progress_ns */
	/* pieces that failed at a parent, by enum vortex_outcome */
	uint64_t n_piece_failures[FETCH_N_OUTCOMES];
};
/* fetches_set_limits - also for fetches that run */
void fetches_set_limits(
	struct fetches *fs, unsigned max_fetches, uint64_t progress_ns, uint64_t room_wait_ns);
struct fetches_stats fetches_get_stats(const struct fetches *fs);

struct fetch_want {
	const char *task_id;
	bool persistent; /* a counted replica: pinned */
	const char *tag, *application, *output_path; /* informational; NULL = absent */
	const char
		*trace; /* of who asks first: goes on to scheduler and parents; NULL or "" = none */
};

/* Embedded in the caller, in flight until on_done or fetch_leave(). */
struct fetch_join {
	/* on_task - the task is known and in hand (FETCHING, or COMPLETE when it turned out to be
	 * here); once, before an on_done with RPC_OK; take a reference to keep it. May leave, but the
	 * join's memory stays until it returns. */
	void (*on_task)(struct fetch_join *j, struct task *t);
	/* on_done - the last callback; RPC_OK: the task is complete and durable here */
	void (*on_done)(struct fetch_join *j, const struct outcome *why);
	/* private */
	struct list link;
	bool was_told;
	struct fetch *fetch;
};
/* fetch_join - callbacks come from the loop. 0, or -ENOMEM, or -EBUSY (max_fetches): then @j is not
 * in flight. */
int fetch_join(struct fetches *fs, const struct fetch_want *want, struct fetch_join *j);
void fetch_leave(struct fetch_join *j); /* safe when not in flight */

#endif
