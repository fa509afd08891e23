/* SPDX-License-Identifier: GPL-2.0-or-later */
/* svc_peer.h — the TCP service dfdaemon.v2.DfdaemonUpload, for peers and schedulers.
 *
 * Announces pieces to children. A task that was complete before its first child came is handed out
 * (handout.h); everybody else hears of a piece when it is verified, or, of our kind, when it begins to
 * arrive.
 * Never names a path of this host. What changes or deletes, or makes us store something, is done only
 * for those whom `may_change` trusts. Source: dragonfly-grpc.md §2.2, §4.2.
 */
#ifndef P2P_SVC_PEER_H
#define P2P_SVC_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/rpc/rpc.h"
#include "p2p/serve.h"

struct announce;
struct exports;
struct local;
struct loop;
struct sched;
struct svc_peer;
struct task;
struct tasks;

struct svc_peer_config {
	struct loop *loop;
	struct tasks *tasks;
	struct exports *exports;
	struct local *local;
	struct sched *sched;
	struct announce *announce; /* SyncHost; NULL: its figures are unknown */
	const struct serve *serve; /* how long a piece takes */
	const char *host_id, *hostname, *ip; /* borrowed; ip is advertised as the piece server's */
	uint16_t port, piece_port; /* of this service; of the Vortex server */
	bool disable_shared; /* serve nobody */
	bool (*may_change)(void *arg, const struct rpc_call *call);
	void *may_change_arg;
	unsigned max_streams; /* SyncPieces and SyncHost together; 0 = 2048 */
};

int svc_peer_new(struct svc_peer **out, const struct svc_peer_config *cfg);
struct rpc_service svc_peer_service(struct svc_peer *s);
/* svc_peer_close - streams end with UNAVAILABLE, so that children look elsewhere at once */
void svc_peer_close(struct svc_peer *s);
/* svc_peer_set_shared - children that are served go on */
void svc_peer_set_shared(struct svc_peer *s, bool disable_shared);
struct svc_peer *svc_peer_free(struct svc_peer *s); /* after its server; returns NULL */
/* svc_peer_served - what serve_listen() tells; @arg is the struct svc_peer */
void svc_peer_served(void *arg, struct task *t, uint32_t number, enum serve_event e);
unsigned svc_peer_n_streams(const struct svc_peer *s);

#endif
