/* SPDX-License-Identifier: GPL-2.0-or-later */
/* resolve.c — getaddrinfo on the pool; see resolve.h */
#include "p2p/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/num.h"

struct name {
	char *host;
	char port[6];
	bool is_number, was_bad;
	int error; /* of the last look-up, getaddrinfo's */
	struct sockaddr_storage v[64]; /* written by the pool thread while is_working */
	size_t n;
};

struct resolve {
	struct loop *loop;
	struct loop_op work, timer;
	struct name *names;
	size_t n_names;
	uint64_t interval_ns;
	resolve_fn fn;
	void *arg;
	struct sockaddr_storage told[RESOLVE_MAX];
	size_t n_told;
	bool has_told, closing;
};

int resolve_split(const char *text, char *host, char port[6])
{
	const char *colon = strrchr(text, ':'), *end = colon;
	uint64_t number;

	if (!colon || colon == text || num_u64(colon + 1, 1, 65535, &number, NULL) ||
		strlen(colon + 1) > 5)
		return -EINVAL;
	strcpy(port, colon + 1);
	if (*text == '[') {
		if (end[-1] != ']' || end - text < 3)
			return -EINVAL;
		text++;
		end--;
	} else if (memchr(text, ':', (size_t)(colon - text))) {
		return -EINVAL; /* IPv6 without brackets */
	}
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = 0;
	return 0;
}

static int lookup(void *arg) /* pool thread */
{
	struct resolve *r = arg;

	for (size_t i = 0; i < r->n_names; i++) {
		struct name *nm = &r->names[i];
		struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
			.ai_flags = AI_NUMERICSERV | (nm->is_number ? AI_NUMERICHOST : 0)};
		struct addrinfo *list = NULL;
		size_t n = 0;

		if (nm->is_number && nm->n)
			continue;
		nm->error = getaddrinfo(nm->host, nm->port, &hints, &list);
		if (nm->error)
			continue;
		for (struct addrinfo *a = list; a && n < sizeof(nm->v) / sizeof(nm->v[0]);
			a = a->ai_next) {
			if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
				continue;
			memset(&nm->v[n], 0, sizeof(nm->v[n]));
			memcpy(&nm->v[n++], a->ai_addr, a->ai_addrlen);
		}
		nm->n = n;
		freeaddrinfo(list);
	}
	return 0;
}

static void resolve_end(struct resolve *r)
{
	if (loop_op_is_active(&r->work) || loop_op_is_active(&r->timer))
		return;
	for (size_t i = 0; i < r->n_names; i++)
		free(r->names[i].host);
	free(r->names);
	free(r);
}

static void on_timer(struct loop_op *op, int res)
{
	struct resolve *r = container_of(op, struct resolve, timer);

	(void)res;
	if (r->closing)
		resolve_end(r);
	else
		loop_work(r->loop, &r->work, lookup, r);
}

static void on_work(struct loop_op *op, int res)
{
	struct resolve *r = container_of(op, struct resolve, work);
	struct sockaddr_storage v[RESOLVE_MAX];
	bool again = false;
	size_t n = 0;

	(void)res;
	if (r->closing) {
		resolve_end(r);
		return;
	}
	for (size_t i = 0; i < r->n_names; i++) {
		struct name *nm = &r->names[i];

		again = again || !nm->is_number;
		if (nm->error && !nm->was_bad)
			log_warning("peers: %s cannot be resolved: %s; trying again every %llu s",
				nm->host, gai_strerror(nm->error),
				(unsigned long long)(r->interval_ns / 1000000000));
		nm->was_bad = nm->error != 0;
		for (size_t k = 0; k < nm->n && n < RESOLVE_MAX; k++)
			v[n++] = nm->v[k];
	}
	if (!r->has_told || n != r->n_told || memcmp(v, r->told, n * sizeof(v[0]))) {
		memcpy(r->told, v, n * sizeof(v[0]));
		r->n_told = n;
		r->has_told = true;
		r->fn(r->arg, v, n);
	}
	if (again)
		loop_timer(r->loop, &r->timer, loop_now(r->loop) + r->interval_ns);
}

int resolve_new(struct resolve **out, struct loop *l, const char *const *names, size_t n,
	uint64_t interval_ns, resolve_fn fn, void *arg, size_t *bad)
{
	struct resolve *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->loop = l;
	r->interval_ns = interval_ns;
	r->fn = fn;
	r->arg = arg;
	loop_op_init(&r->work, on_work);
	loop_op_init(&r->timer, on_timer);
	r->names = calloc(n ? n : 1, sizeof(*r->names));
	if (!r->names)
		goto no_memory;
	r->n_names = n;
	for (size_t i = 0; i < n; i++) {
		struct name *nm = &r->names[i];
		struct in6_addr probe;

		nm->host = malloc(strlen(names[i]) + 1);
		if (!nm->host)
			goto no_memory;
		if (resolve_split(names[i], nm->host, nm->port)) {
			*bad = i;
			resolve_end(r);
			return -EINVAL;
		}
		nm->is_number = inet_pton(AF_INET, nm->host, &probe) == 1 ||
				inet_pton(AF_INET6, nm->host, &probe) == 1;
	}
	loop_work(l, &r->work, lookup, r);
	*out = r;
	return 0;
no_memory:
	resolve_end(r);
	return -ENOMEM;
}

struct resolve *resolve_free(struct resolve *r)
{
	if (!r)
		return NULL;
	r->closing = true;
	if (loop_op_is_active(&r->work))
		loop_cancel(r->loop, &r->work);
	else if (loop_op_is_active(&r->timer))
		loop_cancel(r->loop, &r->timer);
	else
		resolve_end(r);
	return NULL;
}
