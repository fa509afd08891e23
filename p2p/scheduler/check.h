/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check.h — are the requests that strangers send to the scheduler well-formed and within bounds?
 * Pure. Rules: the last columns of dragonfly-grpc.md §3 and §5, and our bounds. Each returns NULL
 * or a sentence that says what is wrong and what would be right. The strings are UTF-8 already.
 */
#ifndef P2P_SCHEDULER_CHECK_H
#define P2P_SCHEDULER_CHECK_H

#include <sys/socket.h>

#include "p2p/api/dfcachefiles.pb-c.h"
#include "p2p/api/scheduler.pb-c.h"

/* all take the unpacked message of their method (const void *, for the method table) */
const char *check_nothing(const void *m);
const char *check_announce_host(const void *m);
const char *check_delete_host(const void *m);
const char *check_upload_started(const void *m);
const char *check_upload_finished(const void *m);
const char *check_upload_failed(const void *m);
const char *check_stat_task(const void *m);
const char *check_stat_peer(const void *m);
const char *check_delete_peer(const void *m);
const char *check_delete_task(const void *m);
const char *check_owned(const void *m);
/* check_owned_answer - what a peer says that it schedules: entries in order, behind @after.
 * @wall_ns: now, since the Epoch */
const char *check_owned_answer(
	const Dfcachefiles__V1__OwnedResponse *m, const char *after, uint64_t wall_ns);
const char *check_announce_peer(const Scheduler__V2__AnnouncePersistentCachePeerRequest *m);

/* check_host_addr - ip and port of a Host; AF_UNSPEC when they are none */
struct sockaddr_storage check_host_addr(const Common__V2__Host *h);

#endif
