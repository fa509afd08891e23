/* SPDX-License-Identifier: GPL-2.0-or-later */
/* svc_local.h — the unix socket: dfdaemon.v2.DfdaemonDownload, spoken by dfcache (ours and upstream's).
 * Decodes, authorises, calls a journey, encodes. Source: dragonfly-grpc.md §2.1, §4.1.
 */
#ifndef P2P_SVC_LOCAL_H
#define P2P_SVC_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/rpc/rpc.h"

struct broker;
struct exports;
struct foreign;
struct imports;
struct local;
struct sched;
struct store_client;
struct manager;
struct svc_local;
struct tasks;

struct svc_local_config {
	const struct manager *manager; /* whose block list holds; NULL: none */
	struct foreign *foreign;
	struct exports *exports;
	struct imports *imports;
	struct broker *broker; /* NULL: paths are refused */
	struct sched *sched;
	struct store_client *store;
	const char *host_id; /* borrowed */
	gid_t admin_gid; /* ACCESS_NO_GROUP */
	uint64_t default_ttl_ns, min_ttl_ns, max_ttl_ns; /* max 0 = no bound */
	unsigned max_replicas;
};

int svc_local_new(struct svc_local **out, const struct svc_local_config *cfg);
struct rpc_service svc_local_service(struct svc_local *s);
/* svc_local_set_limits - as in svc_local_config, from the next request on */
void svc_local_set_limits(struct svc_local *s, uint64_t default_ttl_ns, uint64_t min_ttl_ns,
	uint64_t max_ttl_ns, unsigned max_replicas);
struct svc_local *svc_local_free(struct svc_local *s); /* after its server; returns NULL */

#endif
