/* SPDX-License-Identifier: GPL-2.0-or-later */
/* serve.h — pieces for other peers: what the Vortex server asks (vortex_source_ops), answered from the
 * tasks in hand or in the store. A piece that was verified here is served to everybody. To children of
 * our kind it is passed on while it arrives (rule P4 of swarm-scheduling.md), except its last SERVE_HOLD_BACK
 * bytes, which follow when it was verified: so a child never completes what does not match here.
 * How many are sent at once, and who waits or is told "busy", is the server's business.
 */
#ifndef P2P_SERVE_H
#define P2P_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#define SERVE_HOLD_BACK (64u << 10)

struct loop;
struct serve;
struct task;
struct tasks;
struct vortex_source_ops;

extern const struct vortex_source_ops serve_ops; /* arg: the struct serve */

int serve_new(struct serve **out, struct loop *l, struct tasks *tasks);
enum serve_event {
	SERVE_ASKED, /* a request is answered with a piece */
	SERVE_SENT, /* all of it went out */
	SERVE_BROKE, /* or not */
};
/* serve_listen - @fn hears of every piece */
void serve_listen(struct serve *s,
	void (*fn)(void *arg, struct task *t, uint32_t number, enum serve_event e), void *arg);
/* serve_piece_time - t_p of this parent: how long a piece takes, divided by those that are sent beside
 * it; at least 100 ms until the first is through. Nanoseconds. */
uint64_t serve_piece_time(const struct serve *s);
bool serve_is_idle(const struct serve *s);
struct serve *serve_free(struct serve *s); /* idle only; returns NULL */
struct serve_stats {
	uint64_t n_running, n_pieces, bytes, n_missing;
	/* sent whole though the request came while the piece was still arriving; given up because it did
	 * not arrive */
	uint64_t n_forwarded, n_forward_lost;
};
struct serve_stats serve_get_stats(const struct serve *s);

#endif
