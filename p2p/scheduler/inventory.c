/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inventory.c — local copies and inventory entries; see inventory.h */
#include "p2p/scheduler/inventory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "p2p/peers.h"
#include "p2p/piece.h"

#define MS UINT64_C(1000000)

void inventory_init(struct inventory *v)
{
	*v = (struct inventory){0};
}

struct inv_task *inventory_next(const struct inventory *v, const struct inv_task *after)
{
	struct map_node *n = map_next(&v->tasks, after ? &after->node : NULL);

	return n ? container_of(n, struct inv_task, node) : NULL;
}

void inventory_free(struct inventory *v, struct inv_task *t)
{
	list_del(&t->link);
	map_remove(&v->tasks, &t->node);
	free(t->peer_id);
	free(t->tag);
	free(t->application);
	free(t->importer);
	free(t);
}

void inventory_fini(struct inventory *v)
{
	struct inv_task *t;

	while ((t = inventory_next(v, NULL)))
		inventory_free(v, t);
	map_fini(&v->tasks);
}

struct inv_task *inventory_find(const struct inventory *v, const char *id)
{
	struct map_node *n = map_find(&v->tasks, id, strlen(id));

	return n ? container_of(n, struct inv_task, node) : NULL;
}

static int replace(char **s, const char *by)
{
	char *copy = NULL;

	if (by && *s && !strcmp(by, *s))
		return 0;
	if (by && !(copy = strdup(by)))
		return -ENOMEM;
	free(*s);
	*s = copy;
	return 0;
}

struct inv_task *inventory_put(struct inventory *v, const char *id, const char *peer_id,
	const char *tag, const char *application, const char *importer)
{
	struct inv_task *t = inventory_find(v, id);
	bool is_new = !t;

	if (is_new) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return NULL;
		list_init(&t->link);
		strncpy(t->id, id, sizeof(t->id) - 1);
		t->hash = peers_hash(t->id);
		if (map_insert(&v->tasks, &t->node, t->id, strlen(t->id))) {
			free(t);
			return NULL;
		}
	}
	if (replace(&t->peer_id, peer_id) || replace(&t->tag, tag) ||
		replace(&t->application, application) ||
		(importer && replace(&t->importer, importer))) {
		if (is_new)
			inventory_free(v, t);
		return NULL;
	}
	return t;
}

/* ---- entries ---------------------------------------------------------------------------- */

static void set_version(inv_entry *e, const struct reg_version *v)
{
	e->generation = v->generation;
	if (v->has_fingerprint) {
		e->has_fingerprint = true;
		e->fingerprint.data = (uint8_t *)v->fingerprint;
		e->fingerprint.len = sizeof(v->fingerprint);
	}
}

static void set_expiry(inv_entry *e, uint64_t expires_ns, uint64_t revision, uint64_t now)
{
	if (expires_ns != REG_NEVER) {
		e->has_expires_in_ms = true;
		e->expires_in_ms = expires_ns > now ? (expires_ns - now) / MS : 0;
	}
	e->expiry_revision = revision;
}

void inventory_entry(const struct inv_task *t, uint64_t now, inv_entry *e)
{
	dfcachefiles__v1__entry__init(e);
	e->id = (char *)t->id;
	e->has_state = true;
	e->state = t->state;
	set_version(e, &t->version);
	e->content_length = t->length;
	e->piece_length = t->piece_length;
	e->piece_count = t->n_pieces;
	e->tag = t->tag;
	e->application = t->application;
	e->wanted_replicas = t->wanted;
	set_expiry(e, t->expires_ns, t->expiry_revision, now);
	e->importer_uid = t->importer_uid;
	e->importer_host_id = t->importer;
	e->peer_id = t->peer_id;
	e->persistent = t->persistent;
	e->is_kept = t->is_kept;
	e->created_ns = t->created_wall_ns;
}

void entry_of_task(const struct reg_task *t, uint64_t now, inv_entry *e)
{
	dfcachefiles__v1__entry__init(e);
	e->id = (char *)t->id;
	e->has_state = true;
	e->state = DFCACHEFILES__V1__TASK_STATE__TASK_STATE_UNKNOWN;
	set_version(e, &t->version);
	e->content_length = t->length;
	e->piece_length = t->piece_length;
	e->piece_count = t->n_pieces;
	e->tag = t->tag;
	e->application = t->application;
	e->wanted_replicas = t->wanted;
	set_expiry(e, t->expires_ns, t->expiry_revision, now);
	e->importer_uid = t->importer_uid;
	e->importer_host_id = t->importer;
	e->created_ns = t->created_wall_ns;
}

void entry_of_tombstone(const struct reg_tombstone *d, uint64_t now, inv_entry *e)
{
	dfcachefiles__v1__entry__init(e);
	e->id = (char *)d->id;
	e->has_state = true;
	e->state = DFCACHEFILES__V1__TASK_STATE__DELETED;
	e->generation = d->generation;
	set_expiry(e, d->expires_ns, 0, now);
}

void entry_of_copy(const struct reg_copy *c, uint64_t now, inv_entry *e)
{
	entry_of_task(c->task, now, e);
	set_version(e, &c->version);
	e->state = c->state == COPY_SUCCEEDED   ? DFCACHEFILES__V1__TASK_STATE__COMPLETE
		   : c->state == COPY_UPLOADING ? DFCACHEFILES__V1__TASK_STATE__IMPORTING
						: DFCACHEFILES__V1__TASK_STATE__FETCHING;
	e->peer_id = c->peer_id;
	e->persistent = c->persistent;
	e->is_kept = c->is_kept;
	e->holder_host_id = c->host->id;
}

struct reg_version entry_version(const inv_entry *e)
{
	struct reg_version v = {.generation = e->generation};

	if (e->has_fingerprint && e->fingerprint.len == sizeof(v.fingerprint)) {
		v.has_fingerprint = true;
		memcpy(v.fingerprint, e->fingerprint.data, sizeof(v.fingerprint));
	}
	return v;
}

uint64_t entry_expires(const inv_entry *e, uint64_t now)
{
	return e->has_expires_in_ms ? now + e->expires_in_ms * MS : REG_NEVER;
}

/* ---- checks ----------------------------------------------------------------------------- */

static bool text_ok(const char *s, size_t max)
{
	return !s || strnlen(s, max + 1) <= max;
}

static bool id_ok(const char *s, size_t size)
{
	if (!s || !*s || strnlen(s, size) >= size)
		return false;
	for (; *s; s++) {
		if ((unsigned char)*s < 0x21 || *s == 0x7f)
			return false;
	}
	return true;
}

bool host_id_is_valid(const char *id)
{
	return id_ok(id, HOST_ID_SIZE);
}

bool peer_id_is_valid(const char *id)
{
	return id_ok(id, PEER_ID_SIZE);
}

const char *entry_check(const inv_entry *e, uint64_t wall_ns)
{
	bool is_fact = e->state == DFCACHEFILES__V1__TASK_STATE__DELETED ||
		       e->state == DFCACHEFILES__V1__TASK_STATE__TASK_STATE_UNKNOWN ||
		       e->state == DFCACHEFILES__V1__TASK_STATE__GONE;

	if (!e->id || !task_id_is_valid(e->id))
		return "an entry has no valid task id: 1 to 64 of letters, digits, '.', '_', '-'";
	if (e->state > DFCACHEFILES__V1__TASK_STATE__GONE)
		return "the state of an entry is not a known one";
	if (e->has_fingerprint && e->fingerprint.len != 16)
		return "the fingerprint of an entry does not have 16 bytes";
	if (e->generation > wall_ns + INV_CLOCK_AHEAD)
		return "the generation of an entry lies more than a year ahead";
	if (e->state == DFCACHEFILES__V1__TASK_STATE__DELETED && !e->generation)
		return "a tombstone has no generation";
	if (e->has_expires_in_ms && e->expires_in_ms > INV_TTL_MAX_MS)
		return "the expiry of an entry lies more than 100 years ahead";
	if (e->wanted_replicas > INV_REPLICAS_MAX)
		return "an entry wants more than 64 replicas";
	if (!text_ok(e->tag, INV_TEXT_MAX) || !text_ok(e->application, INV_TEXT_MAX))
		return "the tag or application of an entry is longer than 1024 bytes";
	if (e->importer_host_id && *e->importer_host_id && !host_id_is_valid(e->importer_host_id))
		return "the importer of an entry is not a host id";
	if (e->holder_host_id && !host_id_is_valid(e->holder_host_id))
		return "the holder of an entry is not a host id";
	if (is_fact)
		return NULL;
	if (!peer_id_is_valid(e->peer_id))
		return "an entry has no valid peer id";
	if (e->content_length && (e->piece_length < 1 || e->piece_length > UINT32_MAX ||
					 e->piece_count != piece_count(e->content_length,
								   (uint32_t)e->piece_length)))
		return "the piece count of an entry does not match its lengths";
	if (!e->content_length && e->piece_count)
		return "an entry without content has pieces";
	return NULL;
}

struct sockaddr_storage member_addr(const Dfcachefiles__V1__Member *m)
{
	struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;

	if (!m || !m->ip || m->port < 1 || m->port > 65535)
		return a;
	if (inet_pton(AF_INET, m->ip, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)m->port);
	} else if (inet_pton(AF_INET6, m->ip, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)m->port);
	}
	return a;
}

void addr_text(const struct sockaddr_storage *a, char ip[ADDR_TEXT], uint16_t *port)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

	*port = 0;
	*ip = 0;
	if (a->ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, ip, ADDR_TEXT);
		*port = ntohs(v4->sin_port);
	} else if (a->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, ip, ADDR_TEXT);
		*port = ntohs(v6->sin6_port);
	}
}

static const char *member_check(const Dfcachefiles__V1__Member *m)
{
	if (!m || !host_id_is_valid(m->host_id))
		return "the sender or a member has no valid host id";
	if (member_addr(m).ss_family == AF_UNSPEC)
		return "the sender or a member has no valid IP address and port";
	return NULL;
}

static const char *check_common(const Dfcachefiles__V1__Member *sender, uint64_t incarnation,
	uint64_t clock, Dfcachefiles__V1__Member *const *members, size_t n_members,
	inv_entry *const *entries, size_t n_entries, uint64_t wall_ns)
{
	const char *why = member_check(sender);

	if (why)
		return why;
	if (!incarnation)
		return "the incarnation is missing";
	if (clock > wall_ns + INV_CLOCK_AHEAD)
		return "the clock lies more than a year ahead";
	if (n_members > PEERS_MAX)
		return "more than 256 members";
	for (size_t i = 0; i < n_members; i++) {
		if ((why = member_check(members[i])))
			return why;
	}
	for (size_t i = 0; i < n_entries; i++) {
		if ((why = entry_check(entries[i], wall_ns)))
			return why;
	}
	return NULL;
}

const char *exchange_check_request(const Dfcachefiles__V1__ExchangeRequest *m, uint64_t wall_ns)
{
	if (m->n_entries > INV_BATCH)
		return "more than 256 entries";
	if (m->n_ask_ids > INV_BATCH)
		return "more than 256 ids asked about";
	for (size_t i = 0; i < m->n_ask_ids; i++) {
		if (!task_id_is_valid(m->ask_ids[i]))
			return "an id asked about is not a task id";
	}
	return check_common(m->sender, m->incarnation, m->clock, m->members, m->n_members,
		m->entries, m->n_entries, wall_ns);
}

const char *exchange_check_response(const Dfcachefiles__V1__ExchangeResponse *m, uint64_t wall_ns)
{
	/* each id asked about may be answered by all its copies */
	if (m->n_entries > INV_BATCH * 64)
		return "too many entries";
	return check_common(m->sender, m->incarnation, m->clock, m->members, m->n_members,
		m->entries, m->n_entries, wall_ns);
}
