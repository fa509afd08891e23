/* SPDX-License-Identifier: GPL-2.0-or-later */
/* heap.c — see heap.h */
#include "common/heap.h"

#include <errno.h>
#include <stdlib.h>

void heap_fini(struct heap *h)
{
	free(h->v); /* elements may be gone already: they are not touched */
	*h = (struct heap){0};
}

int heap_reserve(struct heap *h, size_t n)
{
	struct heap_node **v;

	if (n <= h->cap)
		return 0;
	if (n >= PTRDIFF_MAX / sizeof(*v))
		return -ENOMEM;
	v = realloc(h->v, (n + 1) * sizeof(*v)); /* v[0] is not used */
	if (!v)
		return -ENOMEM;
	h->v = v;
	h->cap = n;
	return 0;
}

static void put(struct heap *h, size_t i, struct heap_node *node)
{
	h->v[i] = node;
	node->index = i;
}

static void sift_up(struct heap *h, size_t i)
{
	struct heap_node *node = h->v[i];

	for (; i > 1 && h->v[i / 2]->key > node->key; i /= 2)
		put(h, i, h->v[i / 2]);
	put(h, i, node);
}

static void sift_down(struct heap *h, size_t i)
{
	struct heap_node *node = h->v[i];

	while (i <= h->n / 2) {
		size_t child = 2 * i;

		if (child < h->n && h->v[child + 1]->key < h->v[child]->key)
			child++;
		if (h->v[child]->key >= node->key)
			break;
		put(h, i, h->v[child]);
		i = child;
	}
	put(h, i, node);
}

int heap_insert(struct heap *h, struct heap_node *node, uint64_t key)
{
	if (h->n == h->cap) {
		int r = heap_reserve(h, h->cap ? h->cap * 2 : 16);

		if (r)
			return r;
	}
	node->key = key;
	put(h, ++h->n, node);
	sift_up(h, h->n);
	return 0;
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	size_t i = node->index;
	struct heap_node *last;

	if (!i)
		return;
	last = h->v[h->n--];
	node->index = 0;
	if (last == node)
		return;
	put(h, i, last);
	sift_up(h, i);
	sift_down(h, last->index);
}

void heap_update(struct heap *h, struct heap_node *node, uint64_t key)
{
	node->key = key;
	sift_up(h, node->index);
	sift_down(h, node->index);
}
