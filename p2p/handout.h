/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handout.h — what a holder tells to whom while nobody else has anything: rules P5 to P7 of
 * swarm-scheduling.md §5.3. Pure: no I/O, no clock, deterministic with a seed.
 *
 * If all children saw all pieces at once, some would ask for the same ones, and what the holder sends
 * twice before everything is out once is lost time for all. So each piece is told to one child first
 * (an offer); a few offers are open at a time, and children ask for what they were offered before
 * anything else. When every piece was sent once, or was offered long ago, it is over. (P7 as simulated says
 * "asked for": then the last pieces are asked for again while they are still being sent, which cost a
 * tenth of the file.)
 */
#ifndef P2P_HANDOUT_H
#define P2P_HANDOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"

struct handout;

/* embedded in the owner from handout_join() to handout_leave() */
struct handout_child {
	const uint64_t *wanted; /* bit map of what it has not been told yet; the owner's */
	/* private */
	struct list link;
	uint32_t n_offers;
};

int handout_new(struct handout **out, uint32_t n_pieces, uint64_t seed); /* 0 or -ENOMEM */
struct handout *handout_free(struct handout *h); /* returns NULL */
void handout_join(struct handout *h, struct handout_child *c);
/* handout_leave - what it was offered and nobody asked for is offered to another */
void handout_leave(struct handout *h, struct handout_child *c);
/* handout_next - true: offer @number to @child now (the owner clears it in `wanted`). False: nothing
 * now; look again at @wake (UINT64_MAX: only after an event). @piece_time: t_p, nanoseconds. */
bool handout_next(struct handout *h, uint64_t now, uint64_t piece_time,
	struct handout_child **child, uint32_t *number, uint64_t *wake);
void handout_asked(struct handout *h, uint32_t number, uint64_t now); /* some child gets it */
void handout_sent(struct handout *h, uint32_t number); /* and has all of it */
void handout_broke(struct handout *h, uint32_t number); /* or has not: it is offered again */
bool handout_is_over(const struct handout *h); /* tell everything to everybody from now on */

#endif
