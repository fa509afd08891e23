/* SPDX-License-Identifier: GPL-2.0-or-later */
/* channels.c — channels by address; see channels.h */
#include "p2p/channels.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/list.h"
#include "common/map.h"
#include "common/rpc/rpc.h"
#include "common/tls.h"

struct key {
	uint8_t addr[16];
	uint32_t scope;
	uint16_t family, port;
};

struct entry {
	struct map_node node;
	struct list link; /* by last use, oldest first */
	struct key key;
	struct rpc_channel *channel;
};

struct security { /* of one address, or of all others */
	struct list link;
	struct key key;
	struct tls_context *tls;
	char *name; /* NULL: the address */
};

struct channels {
	struct loop *loop;
	struct map map;
	struct list used;
	struct security common;
	struct list special;
	size_t max;
	struct sockaddr_storage source;
};

static int key_of(const struct sockaddr *sa, struct key *k)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;

	memset(k, 0, sizeof(*k));
	k->family = sa->sa_family;
	if (sa->sa_family == AF_INET) {
		memcpy(k->addr, &v4->sin_addr, 4);
		k->port = v4->sin_port;
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(k->addr, &v6->sin6_addr, 16);
		k->port = v6->sin6_port;
		k->scope = v6->sin6_scope_id;
		return 0;
	}
	return -1;
}

static struct entry *entry_of(struct map_node *n)
{
	return container_of(n, struct entry, node);
}

static void drop(struct channels *c, struct entry *e)
{
	map_remove(&c->map, &e->node);
	list_del(&e->link);
	rpc_channel_free(e->channel);
	free(e);
}

struct channels *channels_new(struct loop *l, size_t max)
{
	struct channels *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->loop = l;
	c->max = max;
	list_init(&c->used);
	list_init(&c->special);
	return c;
}

static void security_fini(struct security *s)
{
	s->tls = tls_context_unref(s->tls);
	free(s->name);
	s->name = NULL;
}

static int security_set(struct security *s, struct tls_context *tls, const char *name)
{
	char *copy = name && *name ? strdup(name) : NULL;

	if (name && *name && !copy)
		return -ENOMEM;
	tls_context_ref(tls);
	security_fini(s);
	s->tls = tls;
	s->name = copy;
	return 0;
}

static struct security *security_of(struct channels *c, const struct key *k)
{
	list_for_each (it, &c->special) {
		struct security *s = list_entry(it, struct security, link);

		if (!memcmp(&s->key, k, sizeof(*k)))
			return s;
	}
	return NULL;
}

int channels_set_tls(struct channels *c, struct tls_context *tls, const char *name)
{
	return security_set(&c->common, tls, name);
}

int channels_set_tls_for(
	struct channels *c, const struct sockaddr *sa, struct tls_context *tls, const char *name)
{
	struct map_node *n;
	struct security *s;
	struct key k;

	if (key_of(sa, &k))
		return -EAFNOSUPPORT;
	s = security_of(c, &k);
	if (s && s->tls == tls && !strcmp(s->name ? s->name : "", name ? name : ""))
		return 0;
	n = map_find(&c->map, &k, sizeof(k));
	if (n)
		drop(c, entry_of(n));
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return -ENOMEM;
		s->key = k;
		list_push(&c->special, &s->link);
	}
	return security_set(s, tls, name);
}

struct channels *channels_free(struct channels *c)
{
	if (!c)
		return NULL;
	list_for_each_safe (it, &c->used)
		drop(c, list_entry(it, struct entry, link));
	list_for_each_safe (it, &c->special) {
		struct security *s = list_entry(it, struct security, link);

		list_del(&s->link);
		security_fini(s);
		free(s);
	}
	security_fini(&c->common);
	map_fini(&c->map);
	free(c);
	return NULL;
}

void channels_set_source(struct channels *c, const struct sockaddr_storage *source)
{
	c->source = *source;
	((struct sockaddr_in *)&c->source)->sin_port = 0; /* sin6_port is at the same place */
}

size_t channels_n(const struct channels *c)
{
	return c->map.n;
}

struct rpc_channel *channels_get(struct channels *c, const struct sockaddr *sa, socklen_t len)
{
	/* Whoever asks paces itself (heartbeats, retries of calls), and a peer that is back must not
	 * wait for a back-off to end. */
	struct rpc_channel_options options = {.no_backoff = true};
	const struct security *security;
	struct map_node *n;
	struct entry *e;
	struct key k;

	if (key_of(sa, &k))
		return NULL;
	n = map_find(&c->map, &k, sizeof(k));
	if (n) {
		e = entry_of(n);
		list_del(&e->link);
		list_push(&c->used, &e->link);
		return e->channel;
	}
	if (c->map.n >= c->max)
		drop(c, list_entry(c->used.next, struct entry, link));
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->key = k;
	security = security_of(c, &k);
	if (!security)
		security = &c->common;
	options.source = (struct sockaddr *)&c->source;
	options.tls = security->tls;
	options.tls_name = security->name;
	if (rpc_channel_new_tcp(&e->channel, c->loop, sa, len, &options)) {
		free(e);
		return NULL;
	}
	if (map_insert(&c->map, &e->node, &e->key, sizeof(e->key))) {
		rpc_channel_free(e->channel);
		free(e);
		return NULL;
	}
	list_push(&c->used, &e->link);
	return e->channel;
}
