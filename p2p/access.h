/* SPDX-License-Identifier: GPL-2.0-or-later */
/* access.h — who may change a task through the unix socket (DESIGN.md §5): its importer, root, the
 * daemon's own user, and members of the admin group. Asks the kernel about the other end of the
 * socket; believes nothing that was sent.
 */
#ifndef P2P_ACCESS_H
#define P2P_ACCESS_H

#include <stdbool.h>
#include <sys/types.h>

struct rpc_peer;

#define ACCESS_NO_GROUP ((gid_t)-1)

/* access_is_admin - root, our own user, or a member of @admin_gid (supplementary groups count) */
bool access_is_admin(const struct rpc_peer *p, gid_t admin_gid);
bool access_may_change(const struct rpc_peer *p, uid_t importer, gid_t admin_gid);

#endif
