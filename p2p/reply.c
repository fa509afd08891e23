/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/reply.h"

#include <errno.h>

#include "common/buf.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"

#define SECOND INT64_C(1000000000)

void reply_message(struct rpc_call *c, ProtobufCMessage *m)
{
	_cleanup_buf_ struct buf b = {0};

	if (pbc_pack(m, &b) < 0 || rpc_call_send(c, b.data, b.len) < 0)
		rpc_call_finish(c, RPC_RESOURCE_EXHAUSTED, "out of memory");
	else
		rpc_call_finish(c, RPC_OK, NULL);
}

void reply_empty(struct rpc_call *c)
{
	if (rpc_call_send(c, "", 0) < 0)
		rpc_call_finish(c, RPC_RESOURCE_EXHAUSTED, "out of memory");
	else
		rpc_call_finish(c, RPC_OK, NULL);
}

void reply_undecodable(struct rpc_call *c)
{
	rpc_call_finish(c, RPC_INVALID_ARGUMENT, "the request cannot be decoded");
}

int reply_duration_ns(const Google__Protobuf__Duration *d, uint64_t *ns)
{
	int64_t v;

	*ns = 0;
	if (!d)
		return 0;
	if (d->seconds < 0 || d->nanos < 0 || d->nanos >= SECOND ||
		__builtin_mul_overflow(d->seconds, SECOND, &v) ||
		__builtin_add_overflow(v, d->nanos, &v))
		return -EINVAL;
	*ns = (uint64_t)v;
	return 0;
}

void reply_set_duration(Google__Protobuf__Duration *d, uint64_t ns)
{
	google__protobuf__duration__init(d);
	d->seconds = (int64_t)(ns / SECOND);
	d->nanos = (int32_t)(ns % SECOND);
}

void reply_set_timestamp(Google__Protobuf__Timestamp *t, uint64_t ns)
{
	google__protobuf__timestamp__init(t);
	t->seconds = (int64_t)(ns / SECOND);
	t->nanos = (int32_t)(ns % SECOND);
}

void reply_task(struct rpc_call *c, const struct sched_task *t)
{
	Common__V2__PersistentCacheTask m = COMMON__V2__PERSISTENT_CACHE_TASK__INIT;
	Google__Protobuf__Duration ttl;
	Google__Protobuf__Timestamp created, updated;

	m.id = (char *)t->id;
	m.persistent_replica_count = t->replicas_wanted;
	m.current_persistent_replica_count = t->replicas_persistent;
	m.current_replica_count = t->replicas_all;
	m.tag = (char *)t->tag;
	m.application = (char *)t->application;
	m.piece_length = t->piece_length;
	m.content_length = t->length;
	m.piece_count = t->n_pieces;
	m.state = (char *)(t->state ? t->state : "");
	/* dfcache fails when a reply lacks ttl */
	reply_set_duration(&ttl, t->ttl_ns);
	m.ttl = &ttl;
	reply_set_timestamp(&created, t->created_ns > 0 ? (uint64_t)t->created_ns : 0);
	m.created_at = &created;
	reply_set_timestamp(&updated, t->updated_ns > 0 ? (uint64_t)t->updated_ns : 0);
	m.updated_at = &updated;
	reply_message(c, &m.base);
}
