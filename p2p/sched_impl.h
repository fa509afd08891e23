/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sched_impl.h — what sched.c (calls) and sched_stream.c (announce streams) share.
 */
#ifndef P2P_SCHED_IMPL_H
#define P2P_SCHED_IMPL_H

#include "common/list.h"
#include "common/loop.h"
#include "common/rpc/rpc.h"
#include "p2p/sched.h"

struct sched {
	struct loop *loop;
	struct channels *channels;
	struct scheduler *embedded; /* NULL: Dragonfly's */
	char host_id[HOST_ID_SIZE];
	struct ring_node *schedulers; /* owned */
	size_t n_schedulers;
	enum ring_kind ring;
	uint64_t patience_ns; /* until then calls wait for the first list of schedulers */
	struct list calls, streams, broadcasts;
	void (*on_schedulers)(void *arg);
	void *on_schedulers_arg;
};

#define SCHED_META_MAX 7

/* sched_route - the channel of the scheduler of @id. NULL and *wait: not yet known, try again;
 * NULL without: out of memory or no scheduler. *secret: value of META_SELF or NULL. */
struct rpc_channel *sched_route(struct sched *s, const char *id, const char **secret, bool *wait);

uint64_t sched_wall_ns(void); /* since the Epoch */
/* sched_reannounce - a scheduler does not know this host (it lost its memory): it is told again soon */
void sched_reannounce(struct sched *s);
/* sched_streams_drop - sched_free(): no stream calls back any more */
void sched_streams_drop(struct sched *s);

#endif
