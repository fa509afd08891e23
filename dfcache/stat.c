/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "dfcache/commands.h"
#include "dfcache/output.h"
#include "dfcache/session.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"

typedef Common__V2__PersistentCacheTask task_message;

/* inspect - what only a daemon of our kind can add; another one does not know the method, and then
 * the answer is what every daemon says */
static Dfcachefiles__V1__Task *inspect(struct session *s, char *id)
{
	Dfcachefiles__V1__InspectRequest rq = DFCACHEFILES__V1__INSPECT_REQUEST__INIT;
	struct failure ignored = {0};
	Dfcachefiles__V1__Task *t;

	rq.id = id;
	t = client_unary(s->client, METHOD_LOCAL_INSPECT, &rq.base,
		&dfcachefiles__v1__task__descriptor, STAT_TIMEOUT_NS, &ignored);
	if (!t)
		log_info("no details of this node reason=%s",
			ignored.message ? ignored.message : "out of memory");
	failure_fini(&ignored);
	return t;
}

int stat_run(struct cli *c)
{
	Dfdaemon__V2__StatPersistentCacheTaskRequest rq =
		DFDAEMON__V2__STAT_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	_cleanup_buf_ struct buf out = {0};
	struct session s;
	task_message *t;
	char what[160];
	int r = session_begin(&s, c);

	if (r)
		return r;
	rq.task_id = c->args[0];
	t = client_unary(s.client, METHOD_LOCAL_STAT, &rq.base,
		&common__v2__persistent_cache_task__descriptor, STAT_TIMEOUT_NS, &s.failure);
	if (t && cli_flag(c, "json")) {
		Dfcachefiles__V1__Task *local = inspect(&s, c->args[0]);

		output_stat_json(t, local, &out);
		if (local)
			protobuf_c_message_free_unpacked(&local->base, NULL);
	} else if (t) {
		output_stat_table(t, &out);
	}
	if (t)
		protobuf_c_message_free_unpacked(&t->base, NULL);
	fputs(buf_str(&out), stdout);
	snprintf(what, sizeof(what), "stat of %.128s", c->args[0]);
	return session_end(&s, what);
}
