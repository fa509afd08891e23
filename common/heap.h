/* SPDX-License-Identifier: GPL-2.0-or-later */
/* heap.h — intrusive binary min-heap ordered by a 64-bit key (a deadline, a time of use).
 * The owner embeds struct heap_node; the heap never owns memory of its elements. Not thread-safe.
 */
#ifndef COMMON_HEAP_H
#define COMMON_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
	uint64_t key;
	size_t index; /* 1-based position; 0 = not in a heap */
};

struct heap {
	struct heap_node **v; /* v[1..n]; owned */
	size_t n, cap;
};

void heap_fini(struct heap *h);
/* heap_reserve - room for @n elements in all, so that later inserts cannot fail; 0 or -ENOMEM */
int heap_reserve(struct heap *h, size_t n);
int heap_insert(struct heap *h, struct heap_node *node, uint64_t key); /* 0 or -ENOMEM */
void heap_remove(struct heap *h, struct heap_node *node); /* no-op when not in it */
void heap_update(struct heap *h, struct heap_node *node, uint64_t key); /* cannot fail */
static inline struct heap_node *heap_first(const struct heap *h)
{
	return h->n ? h->v[1] : NULL;
}
static inline bool heap_contains(const struct heap_node *node)
{
	return node->index != 0;
}

#endif
