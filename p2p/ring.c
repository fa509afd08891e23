/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring.c — SipHash-2-4 with a zero key over addresses and ids; see ring.h */
#include "p2p/ring.h"

#include <endian.h>
#include <netinet/in.h>
#include <string.h>

#include "common/siphash.h"

static uint64_t hash(const uint8_t *p, size_t n)
{
	static const uint64_t zero[2];

	return siphash(2, 4, zero, p, n);
}

static size_t put(uint8_t *to, size_t at, uint64_t value, size_t bytes)
{
	uint64_t le = htole64(value);

	memcpy(to + at, &le, bytes);
	return at + bytes;
}

uint64_t ring_point(const struct sockaddr_storage *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
	uint8_t b[40];
	size_t n;

	if (a->ss_family == AF_INET6) {
		n = put(b, 0, 1, 8);
		memcpy(b + n, &v6->sin6_addr, 16);
		n = put(b, n + 16, ntohs(v6->sin6_port), 2);
		n = put(b, n, v6->sin6_flowinfo, 4);
		n = put(b, n, v6->sin6_scope_id, 4);
	} else {
		n = put(b, 0, 0, 8);
		memcpy(b + n, &v4->sin_addr, 4);
		n = put(b, n + 4, ntohs(v4->sin_port), 2);
	}
	return hash(b, n);
}

uint64_t ring_vnode(const char *name, uint64_t i)
{
	uint8_t b[8 + RING_NAME_SIZE];
	size_t n = strnlen(name, RING_NAME_SIZE - 1);

	put(b, 0, i, 8);
	memcpy(b + 8, name, n);
	b[8 + n] = 0xff;
	return hash(b, 8 + n + 1);
}

uint64_t ring_key(const char *task_id, size_t n)
{
	uint8_t b[128];

	n = strnlen(task_id, n < sizeof(b) - 1 ? n : sizeof(b) - 1);
	memcpy(b, task_id, n);
	b[n] = 0xff;
	return hash(b, n + 1);
}

size_t ring_pick(const struct ring_node *v, size_t n, enum ring_kind kind, const char *task_id)
{
	size_t points = kind == RING_NAMES ? RING_VNODES : 1;
	uint64_t key = ring_key(task_id, kind == RING_NAMES ? SIZE_MAX : 5), best = 0, first = 0;
	size_t at_best = n, at_first = n;

	for (size_t i = 0; i < n * points; i++) {
		const struct ring_node *node = &v[i / points];
		uint64_t p = kind == RING_NAMES ? ring_vnode(node->name, i % points)
						: ring_point(&node->addr);

		if (at_first == n || p < first) {
			first = p;
			at_first = i / points;
		}
		if (p >= key && (at_best == n || p < best)) {
			best = p;
			at_best = i / points;
		}
	}
	return at_best < n ? at_best : at_first;
}
