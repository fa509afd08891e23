/* SPDX-License-Identifier: GPL-2.0-or-later */
/* list.h — intrusive doubly linked list with a head node. An unlinked node points to itself,
 * so list_del() is safe twice and list_is_linked() answers "am I on a list".
 */
#ifndef COMMON_LIST_H
#define COMMON_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(l)                                                                               \
	{                                                                                          \
		&(l), &(l)                                                                         \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline bool list_is_linked(const struct list *n)
{
	return n->next && n->next != n;
}

static inline void list_insert_(struct list *n, struct list *prev, struct list *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}

/* list_push - at the end; list_push_front - at the beginning. @n must not be linked. */
static inline void list_push(struct list *l, struct list *n)
{
	list_insert_(n, l->prev, l);
}

static inline void list_push_front(struct list *l, struct list *n)
{
	list_insert_(n, l, l->next);
}

static inline void list_del(struct list *n)
{
	if (!n->next)
		return;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

/* list_pop - take the first node off, NULL when empty */
static inline struct list *list_pop(struct list *l)
{
	struct list *n = l->next;
	if (n == l)
		return NULL;
	list_del(n);
	return n;
}

#define list_for_each(it, l) for (struct list *it = (l)->next; it != (l); it = it->next)
/* allows list_del() of the current node, not of others */
#define list_for_each_safe(it, l)                                                                  \
	for (struct list *it = (l)->next, *it##_n = it->next; it != (l);                           \
		it = it##_n, it##_n = it->next)

#endif
