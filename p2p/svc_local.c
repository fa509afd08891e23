/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/svc_local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cachefilesd/api/store.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/list.h"
#include "common/num.h"
#include "common/rpc/pbc.h"
#include "p2p/access.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/attrs.h"
#include "p2p/blocklist.h"
#include "p2p/broker/client.h"
#include "p2p/export.h"
#include "p2p/foreign.h"
#include "p2p/import.h"
#include "p2p/local.h"
#include "p2p/manager.h"
#include "p2p/piece.h"
#include "p2p/reply.h"
#include "p2p/sched.h"
#include "p2p/status.h"

#define SECOND        UINT64_C(1000000000)
#define SCHED_TIMEOUT (10 * SECOND)

struct svc_local {
	struct svc_local_config c;
};

/* ---- UploadPersistentCacheTask --------------------------------------------------------------- */

struct upload {
	struct svc_local *svc;
	struct rpc_call *call;
	struct broker_call *broker_call;
	struct import *import;
	Dfdaemon__V2__UploadPersistentCacheTaskRequest *m; /* owned */
	uint64_t ttl_ns;
};

static void on_imported(void *arg, const struct outcome *why, const struct import_result *r)
{
	struct upload *u = arg;
	struct sched_task t = {0};
	char text[24];

	u->import = NULL;
	if (why->status != RPC_OK) {
		rpc_call_finish(u->call, why->status, "%s", why->text);
		return;
	}
	t.id = r->id;
	t.tag = u->m->tag;
	t.application = u->m->application;
	t.replicas_wanted = r->replicas_wanted;
	t.replicas_persistent = r->replicas_persistent;
	t.replicas_all = r->replicas_all;
	t.piece_length = r->piece_length;
	t.n_pieces = r->n_pieces;
	t.length = r->length;
	t.state = r->state;
	t.ttl_ns = r->ttl_ns;
	t.created_ns = r->created_ns;
	t.updated_ns = r->updated_ns;
	snprintf(text, sizeof(text), "%" PRIu64, r->replicas_persistent);
	rpc_call_trailer(u->call, META_REPLICAS, text);
	reply_task(u->call, &t);
}

static void start_import(struct upload *u, int fd)
{
	const Dfdaemon__V2__UploadPersistentCacheTaskRequest *m = u->m;
	struct import_want w = {
		.fd = fd,
		.content = m->content_for_calculating_task_id,
		.tag = m->tag,
		.application = m->application,
		.piece_length = m->has_piece_length ? m->piece_length : 0,
		.replicas = m->persistent_replica_count,
		.ttl_ns = u->ttl_ns,
		.uid = rpc_call_peer(u->call)->uid,
		.trace = rpc_call_metadata(u->call, META_TRACE),
	};

	u->import = import_start(u->svc->c.imports, &w, on_imported, u);
	if (!u->import)
		rpc_call_finish(u->call, RPC_RESOURCE_EXHAUSTED,
			"too many imports at once; try again later");
}

static void on_source(void *arg, int status, const char *message, int fd)
{
	struct upload *u = arg;

	u->broker_call = NULL;
	if (status != RPC_OK)
		rpc_call_finish(u->call, status, "%s", message);
	else
		start_import(u, fd);
}

/* the request makes sense; else the call was ended with a sentence */
static bool check_upload(struct upload *u)
{
	const Dfdaemon__V2__UploadPersistentCacheTaskRequest *m = u->m;
	const struct svc_local_config *c = &u->svc->c;
	char lo[NUM_TEXT], hi[NUM_TEXT], got[NUM_TEXT];

	if (m->has_piece_length &&
		(m->piece_length < PIECE_LENGTH_MIN || m->piece_length > PIECE_LENGTH_MAX)) {
		rpc_call_finish(u->call, RPC_INVALID_ARGUMENT,
			"piece length %" PRIu64 " is not between %u and %u bytes", m->piece_length,
			PIECE_LENGTH_MIN, PIECE_LENGTH_MAX);
		return false;
	}
	if (!m->persistent_replica_count || m->persistent_replica_count > c->max_replicas) {
		rpc_call_finish(u->call, RPC_INVALID_ARGUMENT,
			"persistent replica count %" PRIu64 " is not between 1 and %u",
			m->persistent_replica_count, c->max_replicas);
		return false;
	}
	if ((m->tag && strlen(m->tag) > ATTRS_TEXT_MAX) ||
		(m->application && strlen(m->application) > ATTRS_TEXT_MAX)) {
		rpc_call_finish(u->call, RPC_INVALID_ARGUMENT,
			"tag and application may have %d bytes each", ATTRS_TEXT_MAX);
		return false;
	}
	u->ttl_ns = c->default_ttl_ns;
	if (m->ttl && reply_duration_ns(m->ttl, &u->ttl_ns) < 0) {
		rpc_call_finish(u->call, RPC_INVALID_ARGUMENT, "the ttl is not a duration");
		return false;
	}
	if (u->ttl_ns < c->min_ttl_ns || (c->max_ttl_ns && u->ttl_ns > c->max_ttl_ns)) {
		num_format_duration(c->min_ttl_ns, lo, sizeof(lo));
		num_format_duration(c->max_ttl_ns ? c->max_ttl_ns : UINT64_MAX, hi, sizeof(hi));
		num_format_duration(u->ttl_ns, got, sizeof(got));
		rpc_call_finish(u->call, RPC_INVALID_ARGUMENT,
			"ttl must be between %s and %s, but got %s", lo, hi, got);
		return false;
	}
	return true;
}

static void upload_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_local *svc = service;
	const char *index = rpc_call_metadata(call, META_SOURCE_FD);
	struct upload *u = calloc(1, sizeof(*u));
	char reason[NUM_REASON];
	uint64_t number;
	int fd, flags;

	if (!u) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	u->svc = svc;
	u->call = call;
	rpc_call_set_data(call, u);
	u->m = pbc_unpack(&dfdaemon__v2__upload_persistent_cache_task_request__descriptor, p, n);
	if (!u->m) {
		reply_undecodable(call);
		return;
	}
	if (!check_upload(u))
		return;
	if (blocklist_has(manager_blocklist(svc->c.manager), BLOCKLIST_UPLOAD, u->m->tag,
		    u->m->application)) {
		rpc_call_finish(call, RPC_PERMISSION_DENIED, "upload rejected by blocklist policy");
		return;
	}
	if (index) {
		if (num_u64(index, 0, 255, &number, reason) < 0) {
			rpc_call_finish(call, RPC_INVALID_ARGUMENT, META_SOURCE_FD ": %s", reason);
			return;
		}
		if (!foreign_is_welcome(svc->c.foreign, rpc_call_peer(call)->uid)) {
			rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, FOREIGN_UNWELCOME);
			return;
		}
		fd = rpc_call_take_fd(call, (unsigned)number);
		flags = fd >= 0 ? fcntl(fd, F_GETFL) : -1;
		if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY) {
			rpc_call_finish(call, RPC_INVALID_ARGUMENT, "%s",
				fd < 0 ? "no descriptor was passed for the source"
				       : "the descriptor of the source is not open for reading");
			foreign_close(svc->c.foreign, rpc_call_peer(call)->uid, fd);
			return;
		}
		start_import(u, fd);
		return;
	}
	if (!u->m->path || *u->m->path != '/') {
		rpc_call_finish(call, RPC_INVALID_ARGUMENT,
			"the path of the source must be absolute, or a descriptor be passed");
		return;
	}
	if (!svc->c.broker) {
		rpc_call_finish(call, RPC_PERMISSION_DENIED,
			"paths are not served here; pass a descriptor");
		return;
	}
	u->broker_call = broker_open_source(
		svc->c.broker, rpc_call_peer(call)->fd, u->m->path, 0, on_source, u);
	if (!u->broker_call)
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void upload_end(struct rpc_call *call, void *service, bool finished)
{
	struct upload *u = rpc_call_data(call);

	if (!u)
		return;
	if (u->broker_call)
		broker_call_cancel(u->broker_call);
	if (u->import)
		import_cancel(u->import);
	if (u->m)
		protobuf_c_message_free_unpacked(&u->m->base, NULL);
	free(u);
}

/* ---- DownloadPersistentCacheTask --------------------------------------------------------------- */

static void download_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_local *svc = service;

	export_request(svc->c.exports, call, p, n, true);
}

static void download_drain(struct rpc_call *call, void *service)
{
	export_drained(call);
}

static void download_end(struct rpc_call *call, void *service, bool finished)
{
	export_ended(call);
}

/* ---- StatPersistentCacheTask ------------------------------------------------------------------- */

struct stat_call {
	struct svc_local *svc;
	struct rpc_call *call;
	struct sched_call *sched;
	struct store_op op;
	bool op_busy;
	char id[TASK_ID_SIZE], why[STATUS_TEXT];
	int status;
};

static void stat_settle(struct stat_call *s)
{
	if (!s->call && !s->op_busy)
		free(s);
}

/* the scheduler cannot be asked: what is here is told, if it is whole */
static void on_stat_local(struct store_op *op, const struct store_reply *r)
{
	struct stat_call *s = container_of(op, struct stat_call, op);
	struct task_attrs *a;

	s->op_busy = false;
	if (!s->call) {
		stat_settle(s);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (a && r->status == STORE_OK && r->info.state == STORE_COMPLETE &&
		attrs_parse(r->attrs, r->attrs_len, a) == 0) {
		struct sched_task t = {
			.id = s->id,
			.tag = attrs_tag(a),
			.application = attrs_application(a),
			.replicas_wanted = a->replicas_wanted,
			.replicas_persistent = r->info.pinned,
			.replicas_all = 1,
			.piece_length = r->info.piece_length,
			.n_pieces = r->info.n_pieces,
			.length = r->info.length,
			.state = "Succeeded",
			.created_ns = (int64_t)a->created_ns,
			.updated_ns = (int64_t)r->info.used_ns,
		};

		if (r->info.expires_ns > a->created_ns)
			t.ttl_ns = r->info.expires_ns - a->created_ns;
		reply_task(s->call, &t);
	} else {
		rpc_call_finish(s->call, s->status, "%s", s->why);
	}
	free(a);
}

static void on_stat(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct stat_call *s = arg;

	s->sched = NULL;
	if (status == RPC_OK && t) {
		reply_task(s->call, t);
	} else if (status == RPC_UNAVAILABLE || status == RPC_DEADLINE_EXCEEDED) {
		s->status = status;
		snprintf(s->why, sizeof(s->why), "%s", message);
		s->op.fn = on_stat_local;
		s->op_busy = true;
		store_stat(s->svc->c.store, &s->op, s->id);
	} else {
		rpc_call_finish(s->call, status == RPC_OK ? RPC_INTERNAL : status, "%s", message);
	}
}

static void stat_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_local *svc = service;
	Dfdaemon__V2__StatPersistentCacheTaskRequest *m =
		pbc_unpack(&dfdaemon__v2__stat_persistent_cache_task_request__descriptor, p, n);
	struct stat_call *s;

	if (!m) {
		reply_undecodable(call);
		return;
	}
	s = calloc(1, sizeof(*s));
	if (!m->task_id || !task_id_is_valid(m->task_id)) {
		rpc_call_finish(call, RPC_INVALID_ARGUMENT,
			"the task id is not valid: 1 to 64 of letters, digits, '.', '_', '-'");
		free(s);
	} else if (!s) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	} else {
		s->svc = svc;
		s->call = call;
		snprintf(s->id, sizeof(s->id), "%s", m->task_id);
		rpc_call_set_data(call, s);
		s->sched = sched_stat_task(svc->c.sched, s->id, SCHED_TIMEOUT, on_stat, s);
		if (!s->sched)
			rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void stat_end(struct rpc_call *call, void *service, bool finished)
{
	struct stat_call *s = rpc_call_data(call);

	if (!s)
		return;
	if (s->sched)
		sched_call_cancel(s->sched);
	s->call = NULL;
	stat_settle(s);
}

/* ---- what is here: StatLocal, ListLocal -------------------------------------------------------- */

typedef Dfdaemon__V2__StatLocalPersistentCacheTaskResponse local_message;

struct local_times {
	Google__Protobuf__Duration ttl;
	Google__Protobuf__Timestamp created, updated, finished;
};

static void fill_local(local_message *m, struct local_times *t, const struct store_info *i)
{
	dfdaemon__v2__stat_local_persistent_cache_task_response__init(m);
	m->task_id = (char *)i->id;
	m->persistent = i->pinned;
	m->piece_length = i->piece_length;
	m->has_content_length = true;
	m->content_length = i->length;
	reply_set_duration(
		&t->ttl, i->expires_ns > i->created_ns ? i->expires_ns - i->created_ns : 0);
	m->ttl = &t->ttl;
	reply_set_timestamp(&t->created, i->created_ns);
	m->created_at = &t->created;
	reply_set_timestamp(&t->updated, i->used_ns);
	m->updated_at = &t->updated;
	if (i->state == STORE_COMPLETE) {
		reply_set_timestamp(&t->finished, i->created_ns);
		m->finished_at = &t->finished;
	}
}

struct list_call {
	struct svc_local *svc;
	struct rpc_call *call;
	struct store_op op;
	bool op_busy;
	char id[TASK_ID_SIZE];
	struct buf out; /* the reply, field by field: repeated messages can be packed one by one */
};

static void list_settle(struct list_call *l)
{
	if (l->call || l->op_busy)
		return;
	buf_fini(&l->out);
	free(l);
}

static void on_local_stat(struct store_op *op, const struct store_reply *r)
{
	struct list_call *l = container_of(op, struct list_call, op);
	local_message m;
	struct local_times t;

	l->op_busy = false;
	if (!l->call) {
		list_settle(l);
	} else if (r->status == STORE_NOT_FOUND) {
		rpc_call_finish(l->call, RPC_NOT_FOUND, "task %s not found", l->id);
	} else if (r->status != STORE_OK) {
		rpc_call_finish(l->call, status_from_store(r->status), "%s", r->message);
	} else {
		fill_local(&m, &t, &r->info);
		reply_message(l->call, &m.base);
	}
}

static void on_local_list(struct store_op *op, const struct store_reply *r)
{
	struct list_call *l = container_of(op, struct list_call, op);

	l->op_busy = false;
	if (!l->call) {
		list_settle(l);
		return;
	}
	if (r->status != STORE_OK) {
		rpc_call_finish(l->call, status_from_store(r->status), "%s", r->message);
		return;
	}
	for (size_t i = 0; i < r->n_entries; i++) {
		Dfdaemon__V2__ListLocalPersistentCacheTasksResponse one =
			DFDAEMON__V2__LIST_LOCAL_PERSISTENT_CACHE_TASKS_RESPONSE__INIT;
		local_message m, *v = &m;
		struct local_times t;

		if (!*r->entries[i].id)
			continue;
		fill_local(&m, &t, &r->entries[i]);
		one.n_tasks = 1;
		one.tasks = &v;
		if (pbc_pack(&one.base, &l->out) < 0)
			break;
	}
	if (!buf_ok(&l->out)) {
		rpc_call_finish(l->call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	} else if (r->cursor) {
		l->op_busy = true;
		store_list(l->svc->c.store, &l->op, r->cursor);
	} else if (rpc_call_send(
			   l->call, l->out.data ? l->out.data : (const void *)"", l->out.len) < 0) {
		rpc_call_finish(l->call, RPC_RESOURCE_EXHAUSTED, "the list is too long");
	} else {
		rpc_call_finish(l->call, RPC_OK, NULL);
	}
}

static struct list_call *new_list_call(struct rpc_call *call, void *service)
{
	struct list_call *l = calloc(1, sizeof(*l));

	if (!l) {
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return NULL;
	}
	l->svc = service;
	l->call = call;
	rpc_call_set_data(call, l);
	return l;
}

static void stat_local_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfdaemon__V2__StatLocalPersistentCacheTaskRequest *m = pbc_unpack(
		&dfdaemon__v2__stat_local_persistent_cache_task_request__descriptor, p, n);
	struct list_call *l;

	if (!m) {
		reply_undecodable(call);
		return;
	}
	if (!m->task_id || !task_id_is_valid(m->task_id)) {
		rpc_call_finish(call, RPC_INVALID_ARGUMENT, "the task id is not valid");
	} else if ((l = new_list_call(call, service))) {
		snprintf(l->id, sizeof(l->id), "%s", m->task_id);
		l->op.fn = on_local_stat;
		l->op_busy = true;
		store_stat(l->svc->c.store, &l->op, l->id);
	}
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

static void list_local_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct list_call *l = new_list_call(call, service);

	if (!l)
		return;
	l->op.fn = on_local_list;
	l->op_busy = true;
	store_list(l->svc->c.store, &l->op, 0);
}

static void list_end(struct rpc_call *call, void *service, bool finished)
{
	struct list_call *l = rpc_call_data(call);

	if (!l)
		return;
	l->call = NULL;
	list_settle(l);
}

/* ---- DeleteHost -------------------------------------------------------------------------------- */

static void on_host_deleted(void *arg, int status, const char *message, const struct sched_task *t)
{
	struct rpc_call *call = arg;

	rpc_call_set_data(call, NULL);
	if (status == RPC_OK)
		reply_empty(call);
	else
		rpc_call_finish(call, status, "%s", message);
}

static void delete_host_message(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct svc_local *svc = service;
	struct sched_call *c;

	if (!access_is_admin(rpc_call_peer(call), svc->c.admin_gid)) {
		rpc_call_finish(call, RPC_PERMISSION_DENIED,
			"only root and the admin group may take this host out of the cluster");
		return;
	}
	c = sched_delete_host(svc->c.sched, SCHED_TIMEOUT, on_host_deleted, call);
	if (!c)
		rpc_call_finish(call, RPC_RESOURCE_EXHAUSTED, "out of memory");
	rpc_call_set_data(call, c);
}

static void delete_host_end(struct rpc_call *call, void *service, bool finished)
{
	if (rpc_call_data(call))
		sched_call_cancel(rpc_call_data(call));
}

/* ------------------------------------------------------------------------------------------------ */

#define REQUEST_MAX (64u << 10)

static const struct rpc_method methods[] = {
	{
		.path = METHOD_LOCAL_UPLOAD,
		.max_request_bytes = REQUEST_MAX,
		.on_message = upload_message,
		.on_end = upload_end,
	},
	{
		.path = METHOD_LOCAL_DOWNLOAD,
		.max_request_bytes = REQUEST_MAX,
		.on_message = download_message,
		.on_drain = download_drain,
		.on_end = download_end,
	},
	{
		.path = METHOD_LOCAL_STAT,
		.max_request_bytes = REQUEST_MAX,
		.on_message = stat_message,
		.on_end = stat_end,
	},
	{
		.path = METHOD_LOCAL_STAT_LOCAL,
		.max_request_bytes = REQUEST_MAX,
		.on_message = stat_local_message,
		.on_end = list_end,
	},
	{
		.path = METHOD_LOCAL_LIST_LOCAL,
		.max_request_bytes = REQUEST_MAX,
		.on_message = list_local_message,
		.on_end = list_end,
	},
	{
		.path = METHOD_LOCAL_DELETE_HOST,
		.max_request_bytes = REQUEST_MAX,
		.on_message = delete_host_message,
		.on_end = delete_host_end,
	},
};

int svc_local_new(struct svc_local **out, const struct svc_local_config *cfg)
{
	struct svc_local *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->c = *cfg;
	*out = s;
	return 0;
}

struct rpc_service svc_local_service(struct svc_local *s)
{
	return (struct rpc_service){methods, ARRAY_SIZE(methods), s};
}

void svc_local_set_limits(struct svc_local *s, uint64_t default_ttl_ns, uint64_t min_ttl_ns,
	uint64_t max_ttl_ns, unsigned max_replicas)
{
	s->c.default_ttl_ns = default_ttl_ns;
	s->c.min_ttl_ns = min_ttl_ns;
	s->c.max_ttl_ns = max_ttl_ns;
	s->c.max_replicas = max_replicas;
}

struct svc_local *svc_local_free(struct svc_local *s)
{
	free(s);
	return NULL;
}
