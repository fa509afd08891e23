// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/dirnode.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/path.h"

int dirnode_init(struct dirnodes *d)
{
	*d = (struct dirnodes){.first_free = DIRNODE_NONE, .cap = 16};
	d->v = calloc(d->cap, sizeof(*d->v));
	if (!d->v)
		return -ENOMEM;
	d->v[DIRNODE_ROOT] = (struct dirnode){.parent = DIRNODE_NONE, .n_refs = 1};
	d->n = 1;
	return 0;
}

void dirnode_fini(struct dirnodes *d)
{
	for (uint32_t i = 0; i < d->n; i++)
		free(d->v[i].name);
	free(d->v);
	*d = (struct dirnodes){0};
}

static uint32_t take_free(struct dirnodes *d)
{
	uint32_t id = d->first_free;

	if (id != DIRNODE_NONE) {
		d->first_free = d->v[id].parent;
		return id;
	}
	if (d->n == d->cap) {
		struct dirnode *v;

		if (d->cap >= DIRNODE_NONE / 2)
			return DIRNODE_NONE;
		v = reallocarray(d->v, (size_t)d->cap * 2, sizeof(*v));
		if (!v)
			return DIRNODE_NONE;
		d->v = v;
		d->cap *= 2;
	}
	return d->n++;
}

uint32_t dirnode_new(struct dirnodes *d, uint32_t parent, const char *name)
{
	char *copy = strdup(name);
	uint32_t id;

	if (!copy)
		return DIRNODE_NONE;
	id = take_free(d);
	if (id == DIRNODE_NONE) {
		free(copy);
		return id;
	}
	d->v[id] = (struct dirnode){.name = copy, .parent = parent, .n_refs = 1};
	dirnode_get(d, parent);
	d->n_live++;
	return id;
}

void dirnode_get(struct dirnodes *d, uint32_t id)
{
	d->v[id].n_refs++;
}

void dirnode_put(struct dirnodes *d, uint32_t id)
{
	while (id != DIRNODE_NONE && !--d->v[id].n_refs) {
		uint32_t parent = d->v[id].parent;

		free(d->v[id].name);
		d->v[id] = (struct dirnode){.parent = d->first_free};
		d->first_free = id;
		d->n_live--;
		id = parent;
	}
}

/* Names from below @from down to @id as a path, as many as fit; returns the last node it reached. */
static uint32_t path_part(
	const struct dirnodes *d, uint32_t from, uint32_t id, char *out, size_t cap)
{
	uint32_t at = id;
	size_t len = 0;
	char *p;

	/* the highest node whose path from @from fits: shorten from below */
	for (uint32_t n = id; n != from; n = d->v[n].parent) {
		len += strlen(d->v[n].name) + 1;
		while (len > cap) {
			len -= strlen(d->v[at].name) + 1;
			at = d->v[at].parent;
		}
	}
	if (!len) {
		strcpy(out, ".");
		return at;
	}
	p = out + len - 1;
	*p = '\0';
	for (uint32_t n = at; n != from; n = d->v[n].parent) {
		size_t l = strlen(d->v[n].name);

		if (n != at)
			*--p = '/';
		p -= l;
		memcpy(p, d->v[n].name, l);
	}
	return at;
}

int dirnode_open(const struct dirnodes *d, uint32_t id, int cache_fd, int flags)
{
	_cleanup_fd_ int above = -1;
	uint32_t at = DIRNODE_ROOT;
	char part[PATH_MAX];

	if (!(flags & O_DIRECTORY))
		flags |= O_PATH | O_DIRECTORY;
	for (;;) {
		uint32_t reached = path_part(d, at, id, part, sizeof(part));
		bool is_last = reached == id;
		int fd = path_open_beneath(above >= 0 ? above : cache_fd, part,
			is_last ? flags : O_PATH | O_DIRECTORY, 0);

		if (fd < 0 || is_last)
			return fd;
		fd_close(above);
		above = fd;
		at = reached;
	}
}

char *dirnode_path(const struct dirnodes *d, uint32_t id, char *out, size_t cap)
{
	char *p = out + cap - 1;

	if (!cap)
		return out;
	*p = '\0';
	for (uint32_t n = id; n != DIRNODE_ROOT && n != DIRNODE_NONE; n = d->v[n].parent) {
		size_t l = strlen(d->v[n].name), room = (size_t)(p - out);

		if (*p && room)
			*--p = '/', room--;
		if (l > room) {
			memcpy(out, d->v[n].name + l - room, room);
			p = out;
			break;
		}
		p -= l;
		memcpy(p, d->v[n].name, l);
	}
	return memmove(out, p, strlen(p) + 1);
}
