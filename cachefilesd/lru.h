/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lru.h — the oldest candidates of one scan, in bounded memory.
 *
 * Pure: no I/O, no clock, not thread-safe. kernel_source.c owns one: offer … while the scan runs,
 * seal once, then peek and pop from the oldest. Full, it is a max-heap of 16-byte entries (four
 * children a node: one cache line); sealed by one sort in place.
 *
 * An entry is {time, directory, name}. Names live in an arena with a fixed budget. When it is
 * full, an entry keeps only a hash of its name and the owner finds the name again with one readdir
 * of the directory, for a window of many entries at a time (lru_window_begin). So the memory has a
 * hard bound whatever the names are: 16 + 34 bytes × capacity, 50 MiB at 2^20; and with names of
 * up to 31 bytes no directory is ever read again.
 *
 * Equal times: whichever was offered first may go first; both are equally old.
 */
#ifndef CACHEFILESD_LRU_H
#define CACHEFILESD_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LRU_NAME_BUDGET 32 /* bytes of name arena per entry */
#define LRU_NO_DIR      UINT32_MAX
#define LRU_NAME_MAX    255

struct lru_entry {
	uint64_t used_ns;
	uint32_t dir; /* the owner's number of the directory */
	uint32_t name; /* lru.c: place in the arena, or a hash */
};

struct lru_window_slot {
	uint32_t dir, hash, entry;
	bool is_seen;
};

#define LRU_N_CLASSES 33 /* arena blocks of 8 to 264 bytes */

struct lru {
	void *map; /* owned */
	struct lru_entry *entries; /* in it; [head, head + n) */
	size_t cap, n, head;
	bool is_sealed; /* before: a heap as soon as it is full */
	uint64_t cutoff_ns; /* oldest time ever turned away; UINT64_MAX = nothing was */
	uint8_t *arena; /* owned */
	size_t arena_size, arena_used, arena_live; /* bytes: in all, ever given out, in names now */
	uint32_t free_lists[LRU_N_CLASSES];
	struct lru_window_slot *window; /* owned while a window is open */
	size_t n_window;
	bool is_stuck; /* the last window found no room for the oldest name */
};

/* lru_init - memory for @cap entries (address space; pages come with use). 0 or -ENOMEM.
 * @name_budget: bytes of arena per entry, 0 = LRU_NAME_BUDGET */
int lru_init(struct lru *l, size_t cap, size_t name_budget);
void lru_fini(struct lru *l);
/* lru_reset - empty and filling again; gives the pages back to the system */
void lru_reset(struct lru *l);

enum lru_result {
	LRU_KEPT, /* the table owns one reference to @dir */
	LRU_TOO_NEW, /* it is not among the oldest */
};

/* lru_offer - keep {@used_ns, @dir, @name} if it is among the oldest seen. *@released_dir gets the
 * directory of the entry that was pushed out for it, whose reference is the caller's again, or
 * LRU_NO_DIR. Cannot fail: memory was allocated by lru_init(). */
enum lru_result lru_offer(
	struct lru *l, uint64_t used_ns, uint32_t dir, const char *name, uint32_t *released_dir);
/* lru_would_keep - cheap test before the caller does work for lru_offer() */
static inline bool lru_would_keep(const struct lru *l, uint64_t used_ns)
{
	return l->n < l->cap ? used_ns < l->cutoff_ns : used_ns < l->entries[0].used_ns;
}

void lru_seal(struct lru *l);

/* lru_peek - the oldest entry. Returns its time in *@used_ns, its directory in *@dir and its name,
 * or NULL while the name is not known (open a window). NULL and *@dir = LRU_NO_DIR: empty. */
const char *lru_peek(const struct lru *l, uint64_t *used_ns, uint32_t *dir);
/* lru_pop - drop the oldest; its directory reference is the caller's again */
uint32_t lru_pop(struct lru *l);
/* lru_reoffer - after lru_pop(): an object that was used since, with its new time. LRU_TOO_NEW
 * when something that the scan turned away may be older. On LRU_KEPT it owns a reference again. */
enum lru_result lru_reoffer(struct lru *l, uint64_t used_ns, uint32_t dir, const char *name);

/* A window: the entries without a name among the oldest, as many as the arena has room for.
 * lru_window_begin() - 0 = all names are known, else the number of entries; -ENOMEM.
 * Then for each directory from lru_window_next_dir() (start with LRU_NO_DIR, ends with it) the
 * owner reads the directory and calls lru_window_name() for every entry. lru_window_end(): what was
 * not seen is gone (peek then yields "" for it), what found no room waits for another window. */
int lru_window_begin(struct lru *l);
uint32_t lru_window_next_dir(const struct lru *l, uint32_t after);
void lru_window_name(struct lru *l, uint32_t dir, const char *name);
void lru_window_end(struct lru *l);

#endif
