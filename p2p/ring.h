/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring.h — which of Dragonfly's schedulers a task belongs to: consistent hashing as the reference
 * client does it (dragonfly-grpc.md §6.5). Pure.
 */
#ifndef P2P_RING_H
#define P2P_RING_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* ring_point - of an address; ring_key - of a task id (its first five characters) */
uint64_t ring_point(const struct sockaddr_storage *a);
uint64_t ring_key(const char *task_id);
/* ring_pick - index into @v; @n > 0 */
size_t ring_pick(const struct sockaddr_storage *v, size_t n, const char *task_id);

#endif
