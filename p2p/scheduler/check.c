/* SPDX-License-Identifier: GPL-2.0-or-later */
/* check.c — see check.h */
#include "p2p/scheduler/check.h"

#include <string.h>

#include "p2p/api/convert.h"
#include "p2p/piece.h"
#include "p2p/scheduler/inventory.h"

static const char bad_host[] = "host_id is missing or not a host id: 1 to 319 visible characters";
static const char bad_task[] =
	"task_id is missing or not a task id: 1 to 64 of letters, digits, '.', '_' and '-', not "
	"beginning with '.'";
static const char bad_peer[] = "peer_id is missing or not a peer id: 1 to 359 visible characters";

static bool label_ok(const char *s)
{
	return !s || strnlen(s, INV_TEXT_MAX + 1) <= INV_TEXT_MAX;
}

static const char *check_ids(const char *host, const char *task, const char *peer)
{
	if (!host_id_is_valid(host))
		return bad_host;
	if (!task || !task_id_is_valid(task))
		return bad_task;
	return peer_id_is_valid(peer) ? NULL : bad_peer;
}

const char *check_nothing(const void *m)
{
	(void)m;
	return NULL;
}

struct sockaddr_storage check_host_addr(const Common__V2__Host *h)
{
	Dfcachefiles__V1__Member m = DFCACHEFILES__V1__MEMBER__INIT;

	m.ip = h->ip;
	m.port = h->port;
	return member_addr(&m);
}

const char *check_announce_host(const void *msg)
{
	const Scheduler__V2__AnnounceHostRequest *m = msg;
	const Common__V2__Host *h = m->host;
	uint64_t ns;

	if (!h)
		return "host is missing";
	if (!host_id_is_valid(h->id))
		return "host.id is missing or not a host id: 1 to 319 visible characters";
	if (h->type > 3)
		return "host.type is above 3";
	if (!h->hostname || !*h->hostname || !label_ok(h->hostname))
		return "host.hostname is missing or longer than 1024 bytes";
	if (check_host_addr(h).ss_family == AF_UNSPEC)
		return "host.ip is not an IP address, or host.port is not 1 to 65535";
	if (h->network && (!label_ok(h->network->idc) || !label_ok(h->network->location)))
		return "host.network.idc or location is longer than 1024 bytes";
	if (!api_duration_ns(m->interval, &ns) || ns > UINT64_C(86400) * 1000000000)
		return "interval is negative or longer than a day";
	return NULL;
}

const char *check_delete_host(const void *msg)
{
	const Scheduler__V2__DeleteHostRequest *m = msg;

	return host_id_is_valid(m->host_id) ? NULL : bad_host;
}

const char *check_upload_started(const void *msg)
{
	const Scheduler__V2__UploadPersistentCacheTaskStartedRequest *m = msg;
	const char *why = check_ids(m->host_id, m->task_id, m->peer_id);
	uint64_t ns;

	if (why)
		return why;
	if (m->persistent_replica_count < 1 || m->persistent_replica_count > INV_REPLICAS_MAX)
		return "persistent_replica_count is not 1 to 64";
	if (!label_ok(m->tag) || !label_ok(m->application))
		return "tag or application is longer than 1024 bytes";
	if (m->piece_length < PIECE_LENGTH_MIN || m->piece_length > PIECE_LENGTH_MAX)
		return "piece_length is not 4 MiB to 64 MiB";
	if (m->piece_count != piece_count(m->content_length, (uint32_t)m->piece_length))
		return "piece_count is not content_length divided by piece_length, rounded up";
	if (!api_duration_ns(m->ttl, &ns) || ns / 1000000 > INV_TTL_MAX_MS)
		return "ttl is negative or longer than 100 years";
	return NULL;
}

const char *check_upload_finished(const void *msg)
{
	const Scheduler__V2__UploadPersistentCacheTaskFinishedRequest *m = msg;

	return check_ids(m->host_id, m->task_id, m->peer_id);
}

const char *check_upload_failed(const void *msg)
{
	const Scheduler__V2__UploadPersistentCacheTaskFailedRequest *m = msg;

	return check_ids(m->host_id, m->task_id, m->peer_id);
}

const char *check_stat_task(const void *msg)
{
	const Scheduler__V2__StatPersistentCacheTaskRequest *m = msg;

	return check_ids(m->host_id, m->task_id, "x");
}

const char *check_stat_peer(const void *msg)
{
	const Scheduler__V2__StatPersistentCachePeerRequest *m = msg;

	return check_ids(m->host_id, m->task_id, m->peer_id);
}

const char *check_delete_peer(const void *msg)
{
	const Scheduler__V2__DeletePersistentCachePeerRequest *m = msg;

	return check_ids(m->host_id, m->task_id, m->peer_id);
}

const char *check_delete_task(const void *msg)
{
	const Scheduler__V2__DeletePersistentCacheTaskRequest *m = msg;

	return check_ids(m->host_id, m->task_id, "x");
}

const char *check_announce_peer(const Scheduler__V2__AnnouncePersistentCachePeerRequest *m)
{
	const char *why = check_ids(m->host_id, m->task_id, m->peer_id);

	if (why)
		return why;
	switch (m->request_case) {
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_REGISTER_PERSISTENT_CACHE_PEER_REQUEST:
		if (m->register_persistent_cache_peer_request->concurrent_piece_count > 1024)
			return "concurrent_piece_count is above 1024";
		break;
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_RESCHEDULE_PERSISTENT_CACHE_PEER_REQUEST:
		if (m->reschedule_persistent_cache_peer_request->n_candidate_parents > 256)
			return "more than 256 candidate parents";
		break;
	case SCHEDULER__V2__ANNOUNCE_PERSISTENT_CACHE_PEER_REQUEST__REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST:
		if (!peer_id_is_valid(m->download_piece_failed_request->parent_id))
			return "parent_id is missing or not a peer id: 1 to 359 visible characters";
		break;
	default:
		break;
	}
	return NULL;
}

const char *check_owned(const void *msg)
{
	const Dfcachefiles__V1__OwnedRequest *m = msg;

	return !m->after || task_id_is_valid(m->after) ? NULL : bad_task;
}

const char *check_owned_answer(
	const Dfcachefiles__V1__OwnedResponse *m, const char *after, uint64_t wall_ns)
{
	for (size_t i = 0; i < m->n_tasks; i++) {
		const inv_entry *e = m->tasks[i]->entry;
		const char *why = e ? entry_check(e, wall_ns) : "an entry is missing";

		if (why)
			return why;
		if (strcmp(e->id, after) <= 0)
			return "the ids do not ascend";
		after = e->id;
	}
	return m->n_tasks || m->is_last ? NULL : "a page that is not the last one is empty";
}
