/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manager.c — see manager.h
 *
 * IDLE ─(time)─▶ LISTING ─(answer)─▶ CHECKING ─(last health answer)─▶ choose() ─▶ IDLE
 *                   └─(no answer)─▶ IDLE, the next address of the manager is tried sooner */
#include "p2p/manager.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/rpc/addr.h"
#include "common/rpc/health.pb-c.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "p2p/api/manager.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/blocklist.h"
#include "p2p/channels.h"
#include "p2p/resolve.h"

#define SECOND      UINT64_C(1000000000)
#define TIMEOUT_NS  (5 * SECOND)
#define HEALTH_NS   (2 * SECOND)
#define RETRY_NS    (2 * SECOND) /* while no scheduler is known */
#define RESOLVE_NS  (30 * SECOND)
#define NAMES_MAX   16 /* addresses of the manager */
#define METHOD_PING "/grpc.health.v1.Health/Check"

struct candidate {
	struct manager *m;
	struct sockaddr_storage addr;
	uint64_t cluster;
	bool is_healthy;
};

struct manager {
	struct manager_config c;
	char *host; /* of the address */
	struct resolve *resolve;
	struct sockaddr_storage names[NAMES_MAX];
	size_t n_names, next_name;
	struct loop_op timer;
	uint64_t wake_at;
	unsigned n_asked; /* requests without an answer */
	Manager__V2__ListSchedulersResponse *answer;
	struct candidate candidates[MANAGER_SCHEDULERS_MAX];
	size_t n_candidates;
	struct sockaddr_storage used[MANAGER_SCHEDULERS_MAX];
	size_t n_used;
	struct blocklist *blocked;
	bool is_freed, is_asking, has_warned;
};

static void ask(struct manager *m);

static void destroy(struct manager *m)
{
	if (m->answer)
		protobuf_c_message_free_unpacked(&m->answer->base, NULL);
	blocklist_free(m->blocked);
	free(m->host);
	free(m);
}

static bool check_freed(struct manager *m)
{
	if (m->is_freed && !m->n_asked && !loop_op_is_active(&m->timer)) {
		destroy(m);
		return true;
	}
	return m->is_freed;
}

static void rest(struct manager *m, uint64_t ns)
{
	m->is_asking = false;
	m->wake_at = loop_now(m->c.loop) + ns;
	if (loop_op_is_active(&m->timer))
		loop_cancel(m->c.loop, &m->timer); /* its callback arms it again */
	else
		loop_timer(m->c.loop, &m->timer, m->wake_at);
}

/* in_vain - what was known stays; said once until it works again */
static void __attribute__((format(printf, 2, 3))) in_vain(struct manager *m, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!m->has_warned)
		log_warning("manager: %s; %zu schedulers are known from before address=%s", text,
			m->n_used, m->c.address);
	m->has_warned = true;
	m->next_name++;
	rest(m, m->n_used && m->c.refresh_ns > RETRY_NS ? m->c.refresh_ns : RETRY_NS);
}

/* ---- the outcome ------------------------------------------------------------------------------- */

static void take_blocklist(struct manager *m, uint64_t cluster)
{
	const Manager__V2__SchedulerCluster *found = NULL;
	struct blocklist *b = NULL;
	int r;

	for (size_t i = 0; i < m->answer->n_schedulers && !found; i++) {
		const Manager__V2__Scheduler *s = m->answer->schedulers[i];

		if (s->scheduler_cluster_id == cluster)
			found = s->scheduler_cluster;
	}
	if (found) {
		r = blocklist_parse(&b, found->client_config.data, found->client_config.len);
		if (r < 0) {
			LOG_LIMITED(LOG_WARNING,
				"manager: its client_config is not understood, the block list stays as it "
				"was: %s",
				strerror(-r));
			return;
		}
	}
	if (!blocklist_equal(b, m->blocked))
		log_notice("manager: the block list has %zu entries now", blocklist_n(b));
	blocklist_free(m->blocked);
	m->blocked = b;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sockaddr_storage));
}

static void choose(struct manager *m)
{
	struct sockaddr_storage v[MANAGER_SCHEDULERS_MAX];
	const struct candidate *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < m->n_candidates && !first; i++)
		if (m->candidates[i].is_healthy)
			first = &m->candidates[i];
	if (!first) {
		in_vain(m, "none of its %zu schedulers is healthy", m->n_candidates);
		return;
	}
	for (size_t i = 0; i < m->n_candidates; i++)
		if (m->candidates[i].is_healthy && m->candidates[i].cluster == first->cluster)
			v[n++] = m->candidates[i].addr;
	qsort(v, n, sizeof(*v), compare); /* the order of an answer means nothing */
	take_blocklist(m, first->cluster);
	m->has_warned = false;
	if (n != m->n_used || memcmp(v, m->used, n * sizeof(*v)) != 0) {
		memcpy(m->used, v, n * sizeof(*v));
		m->n_used = n;
		log_notice("manager: schedulers n=%zu cluster=%llu", n,
			(unsigned long long)first->cluster);
		m->c.ops->schedulers(m->c.arg, m->used, n);
	}
	rest(m, m->c.refresh_ns);
}

/* ---- asking ------------------------------------------------------------------------------------ */

static void on_health(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct candidate *k = arg;
	Grpc__Health__V1__HealthCheckResponse *h =
		pbc_unpack(&grpc__health__v1__health_check_response__descriptor, p, n);

	if (h)
		k->is_healthy = h->status ==
				GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	if (h)
		protobuf_c_message_free_unpacked(&h->base, NULL);
}

static void on_health_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct candidate *k = arg;
	struct manager *m = k->m;
	char name[64];

	m->n_asked--;
	if (check_freed(m))
		return;
	if (status != RPC_OK)
		k->is_healthy = false;
	if (!k->is_healthy)
		log_debug("manager: scheduler %s is not healthy: %s",
			addr_format((struct sockaddr *)&k->addr, name, sizeof(name)),
			status == RPC_OK ? "it says so" : message);
	if (!m->n_asked)
		choose(m);
}

static void check_health(struct manager *m)
{
	static const struct rpc_handlers handlers = {
		.on_message = on_health, .on_done = on_health_done};

	m->n_asked++; /* so that choose() is not reached from here */
	for (size_t i = 0; i < m->n_candidates; i++) {
		struct candidate *k = &m->candidates[i];
		struct rpc_channel *ch =
			channels_get(m->c.channels, (struct sockaddr *)&k->addr, sizeof(k->addr));

		if (ch && rpc_unary(ch, METHOD_PING, "", 0, HEALTH_NS, &handlers, k))
			m->n_asked++;
	}
	if (!--m->n_asked)
		choose(m);
}

static bool set_address(struct sockaddr_storage *sa, const char *ip, int port)
{
	struct sockaddr_in *v4 = (void *)sa;
	struct sockaddr_in6 *v6 = (void *)sa;

	memset(sa, 0, sizeof(*sa));
	if (!ip || port < 1 || port > 65535)
		return false;
	if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return true;
	}
	if (inet_pton(AF_INET6, ip, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	return true;
}

static void add_candidates(struct manager *m)
{
	m->n_candidates = 0;
	for (size_t i = 0; i < m->answer->n_schedulers; i++) {
		const Manager__V2__Scheduler *s = m->answer->schedulers[i];
		struct candidate *k = &m->candidates[m->n_candidates];

		if (s->state && *s->state && strcmp(s->state, "active") != 0)
			continue;
		*k = (struct candidate){.m = m, .cluster = s->scheduler_cluster_id};
		if (m->n_candidates == MANAGER_SCHEDULERS_MAX ||
			!set_address(&k->addr, s->ip, s->port) ||
			channels_set_tls_for(m->c.channels, (struct sockaddr *)&k->addr,
				m->c.scheduler_tls, NULL) < 0) {
			LOG_LIMITED(LOG_WARNING,
				"manager: a scheduler with an address that is none, or too many, is "
				"ignored");
			if (m->n_candidates == MANAGER_SCHEDULERS_MAX)
				return;
			continue;
		}
		m->n_candidates++;
	}
}

static void on_list(struct rpc_request *r, void *arg, const uint8_t *p, size_t n)
{
	struct manager *m = arg;

	if (m->answer)
		protobuf_c_message_free_unpacked(&m->answer->base, NULL);
	m->answer = pbc_unpack(&manager__v2__list_schedulers_response__descriptor, p, n);
}

static void on_list_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct manager *m = arg;

	m->n_asked--;
	if (check_freed(m))
		return;
	if (status != RPC_OK || !m->answer) {
		in_vain(m, "it does not tell the schedulers: %s",
			status == RPC_OK ? "the answer cannot be decoded" : message);
		return;
	}
	add_candidates(m);
	if (m->n_candidates)
		check_health(m);
	else
		in_vain(m, "it knows no active scheduler for us");
}

static void ask(struct manager *m)
{
	static const struct rpc_handlers handlers = {
		.on_message = on_list, .on_done = on_list_done};
	Manager__V2__ListSchedulersRequest q = MANAGER__V2__LIST_SCHEDULERS_REQUEST__INIT;
	_cleanup_buf_ struct buf out = {0};
	struct rpc_channel *ch;

	if (m->is_asking || !m->n_names)
		return;
	m->is_asking = true;
	q.has_source_type = true;
	q.source_type = MANAGER__V2__SOURCE_TYPE__PEER_SOURCE;
	q.hostname = (char *)m->c.hostname;
	q.ip = (char *)m->c.ip;
	q.idc = m->c.idc && *m->c.idc ? (char *)m->c.idc : NULL;
	q.location = m->c.location && *m->c.location ? (char *)m->c.location : NULL;
	q.version = (char *)VERSION;
	q.commit = (char *)"unknown";
	q.has_scheduler_cluster_id = m->c.cluster_id > 0;
	q.scheduler_cluster_id = m->c.cluster_id;
	if (m->answer)
		protobuf_c_message_free_unpacked(&m->answer->base, NULL);
	m->answer = NULL;
	ch = channels_get(m->c.channels, (struct sockaddr *)&m->names[m->next_name % m->n_names],
		sizeof(m->names[0]));
	if (!ch || pbc_pack(&q.base, &out) < 0 ||
		!rpc_unary(ch, METHOD_LIST_SCHEDULERS, out.data, out.len, TIMEOUT_NS, &handlers, m))
		in_vain(m, "out of memory");
	else
		m->n_asked++;
}

static void on_timer(struct loop_op *op, int res)
{
	struct manager *m = container_of(op, struct manager, timer);

	if (check_freed(m))
		return;
	if (res == -ETIME)
		ask(m);
	else if (!m->is_asking)
		loop_timer(m->c.loop, &m->timer, m->wake_at);
}

static void on_names(void *arg, const struct sockaddr_storage *v, size_t n)
{
	struct manager *m = arg;

	m->n_names = 0;
	for (size_t i = 0; i < n && m->n_names < NAMES_MAX; i++)
		if (channels_set_tls_for(
			    m->c.channels, (const struct sockaddr *)&v[i], m->c.tls, m->host) == 0)
			m->names[m->n_names++] = v[i];
	if (!m->n_names) {
		in_vain(m, "its name has no address");
		return;
	}
	ask(m);
}

int manager_new(struct manager **out, const struct manager_config *c)
{
	struct manager *m = calloc(1, sizeof(*m));
	char port[6];
	size_t bad;
	int r;

	if (!m)
		return -ENOMEM;
	m->c = *c;
	loop_op_init(&m->timer, on_timer);
	m->host = malloc(strlen(c->address) + 1);
	r = m->host ? resolve_split(c->address, m->host, port) : -ENOMEM;
	if (r == 0)
		r = resolve_new(
			&m->resolve, c->loop, &c->address, 1, RESOLVE_NS, on_names, m, &bad);
	if (r < 0) {
		destroy(m);
		return r;
	}
	*out = m;
	return 0;
}

const struct blocklist *manager_blocklist(const struct manager *m)
{
	return m ? m->blocked : NULL;
}

struct manager *manager_free(struct manager *m)
{
	if (!m)
		return NULL;
	m->resolve = resolve_free(m->resolve);
	m->is_freed = true;
	if (loop_op_is_active(&m->timer))
		loop_cancel(m->c.loop, &m->timer);
	else
		check_freed(m);
	return NULL;
}
