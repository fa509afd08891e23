/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map.c — see map.h. Chained buckets, a power of two of them, SipHash-1-3 keyed at first use. */
#include "common/map.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

#include "common/siphash.h"

static struct {
	pthread_once_t once;
	uint64_t key[2];
} seed = {.once = PTHREAD_ONCE_INIT};

static void seed_init(void)
{
	/* GRND_INSECURE's place before the pool is ready: the kernel's 16 random bytes of this process */
	if (getrandom(seed.key, sizeof(seed.key), GRND_NONBLOCK) != (ssize_t)sizeof(seed.key))
		memcpy(seed.key, (const void *)getauxval(AT_RANDOM), sizeof(seed.key));
}

static uint32_t hash(const void *key, size_t len)
{
	uint64_t h;

	pthread_once(&seed.once, seed_init);
	h = siphash(1, 3, seed.key, key, len);
	return (uint32_t)(h ^ h >> 32);
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
