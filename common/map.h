/* SPDX-License-Identifier: GPL-2.0-or-later */
/* map.h — intrusive hash map from byte strings to owner structs. The key bytes belong to the owner
 * and must not change while in the map. Hash is SipHash-like keyed per process (strangers choose
 * ids). Not thread-safe; iteration allows removal of the current element only.
 */
#ifndef COMMON_MAP_H
#define COMMON_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map_node {
	struct map_node *next;
	const void *key;
	uint32_t key_len, hash;
};

struct map {
	struct map_node **buckets; /* owned */
	size_t n, n_buckets;
};

void map_fini(struct map *m); /* frees the table only */
/* map_insert - 0, -EEXIST (an equal key is there, nothing changed) or -ENOMEM */
int map_insert(struct map *m, struct map_node *node, const void *key, size_t len);
struct map_node *map_find(const struct map *m, const void *key, size_t len);
void map_remove(struct map *m, struct map_node *node);
/* map_next - iterate: start with NULL; returns NULL at the end. The node after the current one
 * is found from the current one, so fetch it before removing the current. */
struct map_node *map_next(const struct map *m, const struct map_node *after);

#endif
