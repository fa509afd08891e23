/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mem.h — message buffers: charged against one ceiling, the big ones kept for reuse.
 *
 * malloc gives the pages of a big block back to the kernel at free() and faults them in again for
 * the next message (dependencies.md §2.4 item 1), so a few blocks are kept, at most MEM_KEEP_BYTES,
 * until mem_trim(), which the connections call when there was no traffic for a while.
 * One per server and per channel. No clock, not thread-safe.
 */
#ifndef COMMON_RPC_MEM_H
#define COMMON_RPC_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEM_KEEP_BYTES ((size_t)16 << 20)
#define MEM_KEEP_N     4

struct mem {
	size_t used, max; /* bytes lent out, and the ceiling */
	struct mem_block {
		void *p;
		size_t cap;
	} kept[MEM_KEEP_N];
	size_t kept_bytes;
};

static inline struct mem mem_init(size_t max)
{
	return (struct mem){.max = max};
}
/* mem_get - @n bytes or a little more, *cap tells; NULL over the ceiling or out of memory */
void *mem_get(struct mem *m, size_t n, size_t *cap);
/* mem_grow - @p of *cap bytes (NULL, 0 at first), content kept, becomes at least @n bytes and at
 * most @most unless a kept block is larger; NULL: over the ceiling, @p is unchanged */
void *mem_grow(struct mem *m, void *p, size_t *cap, size_t n, size_t most);
/* mem_put - also what came from malloc and was charged by mem_charge() */
void mem_put(struct mem *m, void *p, size_t cap);
/* mem_block - exactly @n bytes, a kept block if one fits; not charged, free() takes it */
void *mem_block(struct mem *m, size_t n);
/* mem_charge - count @n bytes that were allocated elsewhere; false over the ceiling */
bool mem_charge(struct mem *m, size_t n);
void mem_discharge(struct mem *m, size_t n);
/* mem_trim - free what is kept */
void mem_trim(struct mem *m);

#endif
