/* SPDX-License-Identifier: GPL-2.0-or-later */
/* own_address.c — see own_address.h */
#include "p2p/own_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/deadline.h"
#include "common/log.h"
#include "common/netif.h"
#include "p2p/config.h"
#include "p2p/resolve.h"

#define SETTLE_NS   500000000ull
#define DISTANCE_NS 2000000000ull

static int parse(const char *ip, struct sockaddr_storage *sa)
{
	*sa = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)sa)->sin_addr) == 1)
		sa->ss_family = AF_INET;
	else if (inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)sa)->sin6_addr) == 1)
		sa->ss_family = AF_INET6;
	else
		return -EINVAL;
	return 0;
}

static int choose(struct netif *n, const char *peers, char out[INET6_ADDRSTRLEN])
{
	struct sockaddr_storage toward = {0}, own;
	char name[NI_MAXHOST + 8], host[NI_MAXHOST + 8], port[6];
	int r;

	for (size_t i = 0; !toward.ss_family && config_list(peers, i, name, sizeof(name)); i++)
		if (resolve_split(name, host, port) < 0 || parse(host, &toward) < 0)
			toward.ss_family = AF_UNSPEC;
	r = netif_address(n, toward.ss_family ? (struct sockaddr *)&toward : NULL, &own);
	if (r < 0)
		return r;
	return getnameinfo((struct sockaddr *)&own, sizeof(own), out, INET6_ADDRSTRLEN, NULL, 0,
		       NI_NUMERICHOST)
		       ? -EIO
		       : 0;
}

int own_address_find(const char *peers, char out[INET6_ADDRSTRLEN])
{
	struct netif *n;
	int r = netif_new(&n);

	if (r < 0)
		return r;
	r = choose(n, peers, out);
	netif_free(n);
	if (r != -EADDRNOTAVAIL)
		return r;
	snprintf(out, INET6_ADDRSTRLEN, "127.0.0.1");
	return 0;
}

struct own_address {
	struct loop *loop;
	struct netif *netif;
	struct netif_watch *watch; /* NULL once closed */
	struct deadline look; /* the network changed: look at what it is now */
	uint64_t looked; /* when, last */
	bool is_wanted, is_closing;
	char *peers, *fixed, ip[INET6_ADDRSTRLEN];
	int index;
	uint64_t speed;
	void (*fn)(void *arg, const char *ip);
	void *arg;
	void (*gone)(void *arg);
	void *gone_arg;
};

static void end(struct own_address *o)
{
	void (*gone)(void *arg) = o->gone;
	void *arg = o->gone_arg;

	netif_free(o->netif);
	free(o->peers);
	free(o->fixed);
	free(o);
	if (gone)
		gone(arg);
}

/* interface_of - what carries the address; false when nothing does just now */
static bool interface_of(struct own_address *o, const char *ip, int *index, uint64_t *speed)
{
	struct sockaddr_storage sa;
	struct netif_load load;

	if (parse(ip, &sa) < 0)
		return false;
	*index = netif_index_of(o->netif, (struct sockaddr *)&sa);
	if (*index <= 0 || netif_read(o->netif, *index, &load) < 0)
		return false;
	*speed = load.speed;
	return true;
}

static void on_look(struct deadline *d, bool expired)
{
	struct own_address *o = container_of(d, struct own_address, look);
	char ip[INET6_ADDRSTRLEN];
	uint64_t speed;
	int index;

	if (o->is_closing) {
		if (!o->watch)
			end(o);
		return;
	}
	o->is_wanted = false;
	o->looked = loop_now(o->loop);
	if (o->fixed)
		snprintf(ip, sizeof(ip), "%s", o->fixed);
	else if (choose(o->netif, o->peers, ip) < 0 || !strchr(ip, ':') != !strchr(o->ip, ':'))
		return; /* nothing better: the old one may come back */
	if (!interface_of(o, ip, &index, &speed) ||
		(!strcmp(ip, o->ip) && index == o->index && speed == o->speed))
		return;
	if (strcmp(ip, o->ip))
		log_notice("daemon: the address of this host has changed from=%s to=%s", o->ip, ip);
	snprintf(o->ip, sizeof(o->ip), "%s", ip);
	o->index = index;
	o->speed = speed;
	o->fn(o->arg, o->ip);
}

static void on_change(void *arg)
{
	struct own_address *o = arg;
	uint64_t at = loop_now(o->loop) + SETTLE_NS;

	if (o->is_wanted)
		return;
	o->is_wanted = true;
	if (at < o->looked + DISTANCE_NS)
		at = o->looked + DISTANCE_NS;
	deadline_set(&o->look, at);
}

int own_address_follow(struct own_address **out, struct loop *l, const char *peers,
	const char *fixed, const char *ip, void (*fn)(void *arg, const char *ip), void *arg)
{
	struct own_address *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return -ENOMEM;
	o->loop = l;
	o->fn = fn;
	o->arg = arg;
	deadline_init(&o->look, l, on_look);
	o->peers = peers ? strdup(peers) : NULL;
	o->fixed = fixed && *fixed ? strdup(fixed) : NULL;
	snprintf(o->ip, sizeof(o->ip), "%s", ip);
	r = (peers && !o->peers) || (fixed && *fixed && !o->fixed) ? -ENOMEM : netif_new(&o->netif);
	if (!r)
		r = netif_watch_new(&o->watch, l, on_change, o);
	if (r) {
		end(o);
		return r;
	}
	if (!interface_of(o, ip, &o->index, &o->speed))
		o->index = 0;
	*out = o;
	return 0;
}

static void on_watch_gone(void *arg)
{
	struct own_address *o = arg;

	o->watch = NULL;
	if (!deadline_is_active(&o->look))
		end(o);
}

void own_address_close(struct own_address *o, void (*gone)(void *arg), void *arg)
{
	o->is_closing = true;
	o->gone = gone;
	o->gone_arg = arg;
	deadline_stop(&o->look);
	netif_watch_close(o->watch, on_watch_gone, o);
}
