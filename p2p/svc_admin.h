/* SPDX-License-Identifier: GPL-2.0-or-later */
/* svc_admin.h — the unix socket: dfcachefiles.v1.Local, for dfcache ls, stat --json, rm, pin, ttl.
 * Looking is open to whoever may connect; changing is for the importer, root and the admin group.
 */
#ifndef P2P_SVC_ADMIN_H
#define P2P_SVC_ADMIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/rpc/rpc.h"

struct local;
struct sched;
struct store_client;
struct svc_admin;

struct svc_admin_config {
	struct local *local;
	struct sched *sched;
	struct store_client *store;
	gid_t admin_gid; /* ACCESS_NO_GROUP */
	uint64_t min_ttl_ns, max_ttl_ns; /* max 0 = no bound */
};

int svc_admin_new(struct svc_admin **out, const struct svc_admin_config *cfg);
struct rpc_service svc_admin_service(struct svc_admin *s);
void svc_admin_set_limits(struct svc_admin *s, uint64_t min_ttl_ns, uint64_t max_ttl_ns);
struct svc_admin *svc_admin_free(struct svc_admin *s); /* after its server; returns NULL */

#endif
