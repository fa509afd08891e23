/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manager.c — see manager.h
 *
 * IDLE ─(time)─▶ LISTING ─(answer)─▶ CHECKING ─(last health answer)─▶ choose() ─▶ IDLE
 *                   └─(no answer)─▶ IDLE, the next address of the manager is tried sooner
 *
 * With a fixed list there is nothing to list: IDLE ─▶ CHECKING. */
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
#define NAMES_MAX   16 /* addresses of one name */
#define METHOD_PING "/grpc.health.v1.Health/Check"

struct candidate {
	struct manager *m;
	struct ring_node node;
	uint64_t id, cluster;
	bool is_healthy;
};

struct source { /* a name of the manager, or of schedulers */
	struct manager *m;
	char *host;
	struct resolve *resolve;
	struct sockaddr_storage v[NAMES_MAX];
	size_t n;
};

struct manager {
	struct manager_config c;
	struct source *sources; /* owned; without a fixed list one, the manager's */
	size_t n_sources, next_name;
	struct loop_op timer;
	uint64_t wake_at;
	unsigned n_asked; /* requests without an answer */
	Manager__V2__ListSchedulersResponse *answer;
	struct candidate candidates[MANAGER_SCHEDULERS_MAX];
	size_t n_candidates;
	struct ring_node used[MANAGER_SCHEDULERS_MAX];
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
	for (size_t i = 0; i < m->n_sources; i++)
		free(m->sources[i].host);
	free(m->sources);
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
			m->n_used, m->c.address ? m->c.address : "(a fixed list)");
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

	for (size_t i = 0; m->answer && i < m->answer->n_schedulers && !found; i++) {
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
	return memcmp(a, b, sizeof(struct ring_node));
}

/* a name that was registered again from another address: the later one holds */
static bool is_replaced(const struct manager *m, const struct candidate *k)
{
	for (size_t i = 0; i < m->n_candidates; i++) {
		const struct candidate *other = &m->candidates[i];

		if (other->is_healthy && other->cluster == k->cluster &&
			!strcmp(other->node.name, k->node.name) &&
			(other->id > k->id || (other->id == k->id && other > k)))
			return true;
	}
	return false;
}

static void choose(struct manager *m)
{
	struct ring_node v[MANAGER_SCHEDULERS_MAX];
	const struct candidate *first = NULL;
	size_t n = 0;

	for (size_t i = 0; i < m->n_candidates && !first; i++)
		if (m->candidates[i].is_healthy)
			first = &m->candidates[i];
	if (!first) {
		in_vain(m, "none of %s%zu schedulers is healthy", m->c.address ? "its " : "the ",
			m->n_candidates);
		return;
	}
	for (size_t i = 0; i < m->n_candidates; i++) {
		const struct candidate *k = &m->candidates[i];

		if (k->is_healthy && k->cluster == first->cluster && !is_replaced(m, k))
			v[n++] = k->node;
	}
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
			addr_format((struct sockaddr *)&k->node.addr, name, sizeof(name)),
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
		struct rpc_channel *ch = channels_get(
			m->c.channels, (struct sockaddr *)&k->node.addr, sizeof(k->node.addr));

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

/* add_candidate - @name NULL or empty: its address is its name; false: no room or no memory */
static bool add_candidate(
	struct manager *m, const struct candidate *from, const char *name, const char *tls_name)
{
	struct candidate *k = &m->candidates[m->n_candidates];

	if (m->n_candidates == MANAGER_SCHEDULERS_MAX)
		return false;
	*k = *from;
	k->m = m;
	k->is_healthy = false;
	if (name && *name)
		snprintf(k->node.name, sizeof(k->node.name), "%s", name);
	else
		addr_format((struct sockaddr *)&k->node.addr, k->node.name, sizeof(k->node.name));
	if (channels_set_tls_for(m->c.channels, (struct sockaddr *)&k->node.addr,
		    m->c.scheduler_tls, tls_name) < 0)
		return false;
	m->n_candidates++;
	return true;
}

static void add_fixed(struct manager *m)
{
	m->n_candidates = 0;
	for (size_t i = 0; i < m->n_sources; i++) {
		const struct source *s = &m->sources[i];

		for (size_t j = 0; j < s->n; j++) {
			struct candidate k = {.node.addr = s->v[j]};

			if (!add_candidate(m, &k, NULL, s->host))
				LOG_LIMITED(LOG_WARNING,
					"manager: too many schedulers, some are ignored");
		}
	}
}

static void add_candidates(struct manager *m)
{
	m->n_candidates = 0;
	for (size_t i = 0; i < m->answer->n_schedulers; i++) {
		const Manager__V2__Scheduler *s = m->answer->schedulers[i];
		struct candidate k = {.id = s->id, .cluster = s->scheduler_cluster_id};

		if (s->state && *s->state && strcmp(s->state, "active") != 0)
			continue;
		if (!set_address(&k.node.addr, s->ip, s->port) ||
			!add_candidate(m, &k, s->hostname, NULL))
			LOG_LIMITED(LOG_WARNING,
				"manager: a scheduler with an address that is none, or too many, is "
				"ignored");
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

	if (m->is_asking)
		return;
	m->is_asking = true;
	if (!m->c.address) {
		add_fixed(m);
		if (m->n_candidates)
			check_health(m);
		else
			in_vain(m, "no name of a scheduler has an address");
		return;
	}
	if (!m->sources->n) {
		in_vain(m, "its name has no address");
		return;
	}
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
	ch = channels_get(m->c.channels,
		(struct sockaddr *)&m->sources->v[m->next_name % m->sources->n],
		sizeof(m->sources->v[0]));
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
	struct source *s = arg;
	struct manager *m = s->m;
	bool has_v4 = false;

	for (size_t i = 0; i < n; i++)
		has_v4 |= v[i].ss_family == AF_INET;
	s->n = 0;
	for (size_t i = 0; i < n && s->n < NAMES_MAX; i++) {
		/* a name with addresses of both families: IPv4, as the reference takes it */
		if (has_v4 && v[i].ss_family != AF_INET)
			continue;
		if (!m->c.address ||
			channels_set_tls_for(m->c.channels, (const struct sockaddr *)&v[i],
				m->c.tls, s->host) == 0)
			s->v[s->n++] = v[i];
	}
	if (!m->is_asking)
		ask(m);
}

/* add_source - 0, -EINVAL or -ENOMEM */
static int add_source(struct manager *m, const char *address)
{
	struct source *s = &m->sources[m->n_sources];
	char port[6];
	size_t bad;
	int r;

	s->m = m;
	s->host = malloc(strlen(address) + 1);
	if (!s->host)
		return -ENOMEM;
	m->n_sources++;
	r = resolve_split(address, s->host, port);
	return r < 0 ? r
		     : resolve_new(&s->resolve, m->c.loop, &address, 1,
			       m->c.address ? RESOLVE_NS : m->c.refresh_ns, on_names, s, &bad);
}

int manager_new(struct manager **out, const struct manager_config *c, const char **bad)
{
	size_t n = c->address ? 1 : c->n_fixed;
	struct manager *m = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		return -ENOMEM;
	m->c = *c;
	loop_op_init(&m->timer, on_timer);
	m->sources = calloc(n, sizeof(*m->sources));
	if (!m->sources)
		r = -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++) {
		*bad = c->address ? c->address : c->fixed[i];
		r = add_source(m, *bad);
	}
	if (r < 0) {
		manager_free(m);
		return r;
	}
	m->c.fixed = NULL; /* copied */
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
	for (size_t i = 0; i < m->n_sources; i++)
		m->sources[i].resolve = resolve_free(m->sources[i].resolve);
	m->is_freed = true;
	if (loop_op_is_active(&m->timer))
		loop_cancel(m->c.loop, &m->timer);
	else
		check_freed(m);
	return NULL;
}
