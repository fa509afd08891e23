/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring.h — which of Dragonfly's schedulers a task belongs to: consistent hashing as the reference
 * client does it. All peers of a cluster must agree, and the reference changed it between 1.5.7 and
 * 1.5.9, so there are two kinds. Pure.
 */
#ifndef P2P_RING_H
#define P2P_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define RING_NAME_SIZE 256
#define RING_VNODES    512 /* points of each name */

enum ring_kind {
	RING_NAMES, /* from 1.5.9 on: 512 points of each scheduler's name, the whole task id */
	RING_ADDRESSES, /* to 1.5.7: one point of each address, five characters (dragonfly-grpc.md §6.5) */
};

struct ring_node {
	struct sockaddr_storage addr;
	char name[RING_NAME_SIZE]; /* the scheduler's host name; of one without a name "ip:port" */
};

/* ring_vnode - point @i of a name; ring_point - of an address; ring_key - of the first @n characters of
 * a task id, or of all when it is shorter */
uint64_t ring_vnode(const char *name, uint64_t i);
uint64_t ring_point(const struct sockaddr_storage *a);
uint64_t ring_key(const char *task_id, size_t n);
/* ring_pick - index into @v; @n > 0 */
size_t ring_pick(const struct ring_node *v, size_t n, enum ring_kind kind, const char *task_id);

#endif
