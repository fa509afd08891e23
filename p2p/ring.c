/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ring.c — SipHash-2-4 with a zero key over addresses and ids; see ring.h */
#include "p2p/ring.h"

#include <endian.h>
#include <netinet/in.h>
#include <string.h>

static uint64_t rotl(uint64_t x, unsigned b)
{
	return x << b | x >> (64 - b);
}

static void round_(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* SipHash-2-4, key 0 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) */
static uint64_t siphash(const uint8_t *p, size_t n)
{
	uint64_t v[4] = {UINT64_C(0x736f6d6570736575), UINT64_C(0x646f72616e646f6d),
		UINT64_C(0x6c7967656e657261), UINT64_C(0x7465646279746573)};
	uint8_t last[8] = {0};
	uint64_t m;
	size_t left = n;

	for (; left >= 8; left -= 8, p += 8) {
		memcpy(&m, p, 8);
		m = le64toh(m);
		v[3] ^= m;
		round_(v);
		round_(v);
		v[0] ^= m;
	}
	memcpy(last, p, left);
	last[7] = (uint8_t)n;
	memcpy(&m, last, 8);
	m = le64toh(m);
	v[3] ^= m;
	round_(v);
	round_(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		round_(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
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
	return siphash(b, n);
}

uint64_t ring_key(const char *task_id)
{
	uint8_t b[6];
	size_t n = strnlen(task_id, 5);

	memcpy(b, task_id, n);
	b[n] = 0xff;
	return siphash(b, n + 1);
}

size_t ring_pick(const struct sockaddr_storage *v, size_t n, const char *task_id)
{
	uint64_t key = ring_key(task_id), best = 0, first = 0;
	size_t at_best = n, at_first = n;

	for (size_t i = 0; i < n; i++) {
		uint64_t p = ring_point(&v[i]);

		if (at_first == n || p < first) {
			first = p;
			at_first = i;
		}
		if (p >= key && (at_best == n || p < best)) {
			best = p;
			at_best = i;
		}
	}
	return at_best < n ? at_best : at_first;
}
