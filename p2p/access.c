/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/access.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/rpc/rpc.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#define GROUPS_MAX 65536

static bool has_group(const struct rpc_peer *p, gid_t gid)
{
	_cleanup_free_ gid_t *v = NULL;
	socklen_t len = GROUPS_MAX * sizeof(*v);

	if (p->gid == gid)
		return true;
	v = malloc(len);
	if (!v || getsockopt(p->fd, SOL_SOCKET, SO_PEERGROUPS, v, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*v); i++)
		if (v[i] == gid)
			return true;
	return false;
}

bool access_is_admin(const struct rpc_peer *p, gid_t admin_gid)
{
	if (!p->is_unix)
		return false;
	if (p->uid == 0 || p->uid == geteuid())
		return true;
	return admin_gid != ACCESS_NO_GROUP && has_group(p, admin_gid);
}

bool access_may_change(const struct rpc_peer *p, uid_t importer, gid_t admin_gid)
{
	return p->is_unix && (p->uid == importer || access_is_admin(p, admin_gid));
}
