/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manager.h — schedulers and block lists from the manager of a Dragonfly cluster
 * (manager.v2.Manager/ListSchedulers, dragonfly-grpc.md §2.4 and §7), asked again and again.
 *
 * As the reference client does it: every active scheduler is asked for its health, and those of the first
 * healthy one's cluster are used. When the manager or all schedulers are silent, what was known stays. The
 * names of the manager are looked up on the pool. On the loop's thread.
 */
#ifndef P2P_MANAGER_H
#define P2P_MANAGER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct blocklist;
struct channels;
struct loop;
struct manager;
struct tls_context;

#define MANAGER_SCHEDULERS_MAX 64 /* in one answer; more are ignored */

struct manager_ops {
	/* schedulers - they are others than before (at least one) */
	void (*schedulers)(void *arg, const struct sockaddr_storage *v, size_t n);
};

struct manager_config { /* texts stay with the caller */
	struct loop *loop;
	struct channels *channels;
	const char *address; /* host:port */
	const char *hostname, *ip, *idc, *location; /* ours */
	uint64_t cluster_id; /* 0: the manager chooses */
	uint64_t refresh_ns;
	struct tls_context *tls, *scheduler_tls; /* NULL: plaintext */
	const struct manager_ops *ops;
	void *arg;
};

/* manager_new - 0, -EINVAL (the address is not host:port) or -ENOMEM; asks when the loop runs */
int manager_new(struct manager **out, const struct manager_config *c);
/* manager_blocklist - what is forbidden now; NULL: nothing. Borrowed until the loop turns. */
const struct blocklist *manager_blocklist(const struct manager *m);
/* manager_free - no callback any more; memory goes when the last request has ended (see
 * channels_free()). Returns NULL. */
struct manager *manager_free(struct manager *m);

#endif
