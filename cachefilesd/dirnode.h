/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dirnode.h — the directories of the cache tree that somebody remembers, by number.
 *
 * A candidate in the cull table names its directory with 4 bytes. A node is {parent, name,
 * references}; it lives while the walk or a candidate refers to it or to something below it, so the
 * memory is bounded by the table. dirnode_open() walks from the cache directory with
 * path_open_beneath(): never through a symbolic link or a mount. Not thread-safe.
 */
#ifndef CACHEFILESD_DIRNODE_H
#define CACHEFILESD_DIRNODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIRNODE_ROOT 0 /* the cache directory itself; always there */
#define DIRNODE_NONE UINT32_MAX

struct dirnode {
	char *name; /* owned; NULL = free */
	uint32_t parent; /* a reference; next free node while free */
	uint32_t n_refs;
};

struct dirnodes {
	struct dirnode *v; /* owned */
	uint32_t n, cap, first_free;
	size_t n_live;
};

int dirnode_init(struct dirnodes *d); /* 0 or -ENOMEM */
void dirnode_fini(struct dirnodes *d);
/* dirnode_new - @name below @parent; the caller owns one reference. DIRNODE_NONE: no memory */
uint32_t dirnode_new(struct dirnodes *d, uint32_t parent, const char *name);
void dirnode_get(struct dirnodes *d, uint32_t id);
void dirnode_put(struct dirnodes *d, uint32_t id);
/* dirnode_open - a descriptor of directory @id beneath @cache_fd (O_PATH unless @flags say
 * O_RDONLY), or -errno: -ENOENT gone, -EXDEV a mount or another file system, -ELOOP a link */
int dirnode_open(const struct dirnodes *d, uint32_t id, int cache_fd, int flags);
/* dirnode_path - for people: "I…/@1f" into @out, cut from the left when too long; returns @out */
char *dirnode_path(const struct dirnodes *d, uint32_t id, char *out, size_t cap);

#endif
