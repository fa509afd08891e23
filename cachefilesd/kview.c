// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/kview.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cachefilesd/dirnode.h"
#include "cachefilesd/kernel_source.h"
#include "cachefilesd/scan.h"
#include "common/cleanup.h"
#include "common/path.h"

struct view {
	struct dirnodes nodes;
	struct scan scan;
	struct kview_volume *v;
	size_t n, cap;
	size_t last; /* objects come volume by volume */
	bool is_out_of_memory;
};

static int open_cache(int dirfd)
{
	return path_open_beneath(dirfd, "cache", O_RDONLY | O_DIRECTORY, 0);
}

/* The volume that @dir lies in; its place in the table, or SIZE_MAX without memory. */
static size_t volume_of(struct view *w, uint32_t dir)
{
	const char *name;

	while (dir != DIRNODE_ROOT && w->nodes.v[dir].parent != DIRNODE_ROOT)
		dir = w->nodes.v[dir].parent;
	name = dir == DIRNODE_ROOT ? "." : w->nodes.v[dir].name;
	if (w->last < w->n && !strcmp(w->v[w->last].name, name))
		return w->last;
	for (size_t i = 0; i < w->n; i++)
		if (!strcmp(w->v[i].name, name))
			return i;
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 16;
		struct kview_volume *v = reallocarray(w->v, cap, sizeof(*v));

		if (!v)
			return SIZE_MAX;
		w->v = v;
		w->cap = cap;
	}
	w->v[w->n] = (struct kview_volume){.name = strdup(name)};
	if (!w->v[w->n].name)
		return SIZE_MAX;
	return w->n++;
}

static void on_object(void *arg, uint64_t used_ns, uint64_t bytes, uint32_t dir, const char *name)
{
	struct view *w = arg;

	w->last = volume_of(w, dir);
	if (w->last == SIZE_MAX) {
		w->is_out_of_memory = true;
		return;
	}
	struct kview_volume *v = &w->v[w->last];

	v->n_objects++;
	v->bytes += bytes;
	v->used_ns = used_ns > v->used_ns ? used_ns : v->used_ns;
}

static bool leave_alone(void *arg, int dirfd, uint32_t dir, const char *name, bool is_dir)
{
	return false;
}

static void on_skipped(void *arg, uint32_t dir, const char *name, int err)
{
}

static int by_size(const void *a, const void *b)
{
	const struct kview_volume *x = a, *y = b;

	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

int kview_volumes(int dirfd, struct kview_volume **out, size_t *n)
{
	static const struct scan_sink sink = {.candidate = on_object,
		.alien = leave_alone,
		.empty = leave_alone,
		.skipped = on_skipped};
	_cleanup_fd_ int cache = open_cache(dirfd);
	struct view w = {0};
	int r;

	*out = NULL;
	*n = 0;
	if (cache < 0)
		return cache;
	r = dirnode_init(&w.nodes);
	if (r < 0)
		return r;
	scan_init(&w.scan, &w.nodes, &sink, &w);
	r = scan_start(&w.scan, cache, false);
	while (r >= 0 && scan_step(&w.scan))
		;
	scan_fini(&w.scan);
	dirnode_fini(&w.nodes);
	if (r >= 0 && w.is_out_of_memory)
		r = -ENOMEM;
	if (r < 0) {
		kview_free(w.v, w.n);
		return r;
	}
	if (w.n)
		qsort(w.v, w.n, sizeof(*w.v), by_size);
	*out = w.v;
	*n = w.n;
	return 0;
}

void kview_free(struct kview_volume *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].name);
	free(v);
}

int kview_objects(int dirfd, size_t max,
	bool (*emit)(void *arg, uint64_t used_ns, uint64_t bytes, const char *label), void *arg)
{
	_cleanup_fd_ int cache = open_cache(dirfd);

	return cache < 0 ? cache : kernel_source_list(cache, max, NULL, emit, arg);
}
