/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map.c — see map.h. Chained buckets, a power of two of them, SipHash-1-3 keyed at first use. */
#include "common/map.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

static struct {
	pthread_once_t once;
	uint64_t k0, k1;
} seed = {.once = PTHREAD_ONCE_INIT};

static void seed_init(void)
{
	uint64_t k[2];

	/* GRND_INSECURE's place before the pool is ready: the kernel's 16 random bytes of this process */
	if (getrandom(k, sizeof(k), GRND_NONBLOCK) != (ssize_t)sizeof(k))
		memcpy(k, (const void *)getauxval(AT_RANDOM), sizeof(k));
	seed.k0 = k[0];
	seed.k1 = k[1];
}

static uint64_t rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
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

static uint32_t hash(const void *key, size_t len)
{
	const uint8_t *p = key;
	uint64_t m, v[4];
	size_t left = len;

	pthread_once(&seed.once, seed_init);
	v[0] = seed.k0 ^ 0x736f6d6570736575ull;
	v[1] = seed.k1 ^ 0x646f72616e646f6dull;
	v[2] = seed.k0 ^ 0x6c7967656e657261ull;
	v[3] = seed.k1 ^ 0x7465646279746573ull;
	for (; left >= 8; p += 8, left -= 8) {
		memcpy(&m, p, 8);
		m = le64toh(m);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	m = (uint64_t)len << 56;
	for (size_t i = 0; i < left; i++)
		m |= (uint64_t)p[i] << (8 * i);
	v[3] ^= m;
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	m = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (uint32_t)(m ^ m >> 32);
}

void map_fini(struct map *m)
{
	free(m->buckets);
	*m = (struct map){0};
}

static struct map_node **bucket(const struct map *m, uint32_t h)
{
	return &m->buckets[h & (m->n_buckets - 1)];
}

/* grow - best effort once there is a table: longer chains still work */
static int grow(struct map *m)
{
	struct map bigger = {.n = m->n, .n_buckets = m->n_buckets ? m->n_buckets * 2 : 16};

	if (m->n_buckets > UINT32_MAX / 2)
		return 0;
	bigger.buckets = calloc(bigger.n_buckets, sizeof(*bigger.buckets));
	if (!bigger.buckets)
		return m->buckets ? 0 : -ENOMEM;
	for (size_t i = 0; i < m->n_buckets; i++) {
		struct map_node *node = m->buckets[i];

		while (node) {
			struct map_node *next = node->next, **to = bucket(&bigger, node->hash);

			node->next = *to;
			*to = node;
			node = next;
		}
	}
	free(m->buckets);
	*m = bigger;
	return 0;
}

static struct map_node *find(const struct map *m, const void *key, size_t len, uint32_t h)
{
	if (!m->n)
		return NULL;
	for (struct map_node *node = *bucket(m, h); node; node = node->next)
		if (node->hash == h && node->key_len == len &&
			(!len || !memcmp(node->key, key, len)))
			return node;
	return NULL;
}

int map_insert(struct map *m, struct map_node *node, const void *key, size_t len)
{
	uint32_t h = hash(key, len);
	struct map_node **to;

	if (len > UINT32_MAX)
		return -EINVAL;
	if (find(m, key, len, h))
		return -EEXIST;
	if (m->n >= m->n_buckets) {
		int r = grow(m);

		if (r)
			return r;
	}
	to = bucket(m, h);
	*node = (struct map_node){.next = *to, .key = key, .key_len = (uint32_t)len, .hash = h};
	*to = node;
	m->n++;
	return 0;
}

struct map_node *map_find(const struct map *m, const void *key, size_t len)
{
	return m->n ? find(m, key, len, hash(key, len)) : NULL;
}

void map_remove(struct map *m, struct map_node *node)
{
	struct map_node **p = bucket(m, node->hash);

	while (*p != node)
		p = &(*p)->next;
	*p = node->next;
	node->next = NULL;
	m->n--;
}

struct map_node *map_next(const struct map *m, const struct map_node *after)
{
	size_t i = 0;

	if (after) {
		if (after->next)
			return after->next;
		i = (after->hash & (m->n_buckets - 1)) + 1;
	}
	for (; i < m->n_buckets; i++)
		if (m->buckets[i])
			return m->buckets[i];
	return NULL;
}
