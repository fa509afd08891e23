/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manager.h — which schedulers of Dragonfly there are: those that the manager of the cluster names, with its
 * block lists (manager.v2.Manager/ListSchedulers, dragonfly-grpc.md §2.4 and §7), or a fixed list of
 * addresses and DNS names. Asked again and again.
 *
 * As the reference client does it: every active scheduler is asked for its health, and those of the first
 * healthy one's cluster are used. When the manager or all schedulers are silent, what was known stays.
 * Names are looked up on the pool. On the loop's thread.
 */
#ifndef P2P_MANAGER_H
#define P2P_MANAGER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "p2p/ring.h"

struct blocklist;
struct channels;
struct loop;
struct manager;
struct tls_context;

#define MANAGER_SCHEDULERS_MAX 64 /* in one answer, or all of a fixed list; more are ignored */

struct manager_ops {
	/* schedulers - they are others than before (at least one) */
	void (*schedulers)(void *arg, const struct ring_node *v, size_t n);
};

struct manager_config { /* texts stay with the caller */
	struct loop *loop;
	struct channels *channels;
	const char *address; /* host:port of the manager, or NULL and … */
	const char *const *fixed; /* … the schedulers, host:port each */
	size_t n_fixed;
	const char *hostname, *ip, *idc, *location; /* ours */
	uint64_t cluster_id; /* 0: the manager chooses */
	uint64_t refresh_ns;
	struct tls_context *tls, *scheduler_tls; /* NULL: plaintext */
	const struct manager_ops *ops;
	void *arg;
};

/* manager_new - 0, -EINVAL (*bad is not host:port) or -ENOMEM; asks when the loop runs */
int manager_new(struct manager **out, const struct manager_config *c, const char **bad);
/* manager_blocklist - what is forbidden now; NULL: nothing. Borrowed until the loop turns. */
const struct blocklist *manager_blocklist(const struct manager *m);
/* manager_free - no callback any more; memory goes when the last request has ended (see
 * channels_free()). Returns NULL. */
struct manager *manager_free(struct manager *m);

#endif
