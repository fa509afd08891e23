/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cull_quality.c — how well the culling keeps what is wanted again. The real conductor (cull.c) and the real
 * index of the store on invented space and time, with a second tenant in the place of the kernel's objects,
 * serve a trace in which the two are used alternately; every miss is stored, culling begins below the cull
 * limit and ends at the run limit. Beside it, over the same accesses and sizes: one ideal LRU cache of the same
 * disk (it removes only what it must), and the offline optimum (Belady: what is needed latest, or never again, goes
 * first; with sizes that differ this is the usual greedy one).
 *
 *   cull_quality DIR     DIR: where the store's (empty) files may be; a tmpfs is best
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachefilesd/cull.h"
#include "cachefilesd/store/depot.h"
#include "common/cleanup.h"
#include "common/log.h"

#define N_OBJECTS 4000u
#define N_STEPS   40000u
#define BLOCK     4096ull
#define CAPACITY  40000ull /* blocks; all objects together are about twice that */
#define SEC       1000000000ull
#define CULL_PCT  7
#define RUN_PCT   10

struct trace {
	const char *name;
	uint32_t step[N_STEPS];
	uint32_t n;
};

static uint64_t size_of[N_OBJECTS]; /* blocks */
static uint64_t rng_state = 42;

static double uniform(void)
{
	rng_state = rng_state * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(rng_state >> 11) / 9007199254740992.0;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(uniform() * n);
}

/* ---- the traces ------------------------------------------------------------------------------ */

static void add(struct trace *t, uint32_t object)
{
	if (t->n < N_STEPS)
		t->step[t->n++] = object;
}

/* popularity ~ 1 / rank^0.9, the ranks spread over both tenants and all sizes */
static uint32_t zipf(uint32_t n)
{
	static double sum[N_OBJECTS];
	double u;
	uint32_t lo = 0, hi = n - 1;

	if (sum[0] == 0)
		for (uint32_t i = 0; i < N_OBJECTS; i++)
			sum[i] = (i ? sum[i - 1] : 0) + pow(i + 1, -0.9);
	u = uniform() * sum[n - 1];
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (sum[mid] < u)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void make_zipf(struct trace *t)
{
	while (t->n < N_STEPS)
		add(t, zipf(N_OBJECTS));
}

/* three in four go to a popular quarter, the rest is long scans of what is used once */
static void make_scans(struct trace *t)
{
	uint32_t hot = N_OBJECTS / 4, cold = hot;

	while (t->n < N_STEPS) {
		for (int i = 0; i < 300; i++)
			add(t, zipf(hot));
		for (int i = 0; i < 100; i++) {
			add(t, cold);
			cold = cold + 1 < N_OBJECTS ? cold + 1 : hot;
		}
	}
}

/* ten files of a checkpoint are written, read by all a few times, and followed by the next one; beside
 * them a data set of 2000 objects is read from the beginning to the end in each epoch, a third at random */
static void make_checkpoints(struct trace *t)
{
	uint32_t next = 2000, data = 0;

	while (t->n < N_STEPS) {
		for (int round = 0; round < 3; round++)
			for (uint32_t i = 0; i < 10; i++) {
				add(t, next + i);
				for (int k = 0; k < 12; k++) {
					add(t, below(3) ? data : below(2000));
					data = (data + 1) % 2000;
				}
			}
		next = next + 10 < N_OBJECTS - 10 ? next + 10 : 2000;
	}
}

/* ---- what is measured ------------------------------------------------------------------------ */

struct object {
	bool is_here;
	uint64_t used, next; /* steps */
};

struct world {
	struct depot *depot;
	struct cull cull;
	struct cull_source kernel;
	struct object kernel_objects[N_OBJECTS]; /* the other tenant's */
	uint32_t oldest;
	uint64_t used_blocks, now;
};

static struct world w;

static struct wallclock_now world_now(void *arg)
{
	(void)arg;
	return (struct wallclock_now){.wall_ns = w.now, .mono_ns = w.now, .is_synchronized = true};
}

static int world_space(void *arg, int fd, struct depot_space *out)
{
	(void)arg;
	(void)fd;
	*out = (struct depot_space){.block_size = BLOCK,
		.blocks_total = CAPACITY,
		.blocks_avail = CAPACITY > w.used_blocks ? CAPACITY - w.used_blocks : 0,
		.files_total = 1 << 20,
		.files_avail = 1 << 19};
	return 0;
}

static enum cull_offer kernel_oldest(struct cull_source *s, uint64_t *used_ns)
{
	uint64_t least = UINT64_MAX;

	(void)s;
	for (uint32_t i = 0; i < N_OBJECTS; i++) {
		if (w.kernel_objects[i].is_here && w.kernel_objects[i].used < least) {
			least = w.kernel_objects[i].used;
			w.oldest = i;
		}
	}
	*used_ns = least;
	return least == UINT64_MAX ? CULL_OFFER_NONE : CULL_OFFER_READY;
}

static enum cull_outcome kernel_recheck(struct cull_source *s)
{
	(void)s;
	return CULL_FREED;
}

static enum cull_outcome kernel_remove(
	struct cull_source *s, uint64_t *freed, char *label, size_t cap)
{
	(void)s;
	snprintf(label, cap, "object %u", w.oldest);
	w.kernel_objects[w.oldest].is_here = false;
	w.used_blocks -= size_of[w.oldest];
	*freed = size_of[w.oldest] * BLOCK;
	return CULL_FREED;
}

static void nothing(struct cull_source *s)
{
	(void)s;
}

/* the store's tasks have empty files here: what they would free is known by their number */
static enum cull_outcome (*tasks_remove)(struct cull_source *, uint64_t *, char *, size_t);

static enum cull_outcome counted_remove(
	struct cull_source *s, uint64_t *freed, char *label, size_t cap)
{
	enum cull_outcome o = tasks_remove(s, freed, label, cap);
	uint32_t i;

	if (sscanf(label, "task %u", &i) == 1 && i < N_OBJECTS) {
		*freed = size_of[i] * BLOCK;
		w.used_blocks -= size_of[i];
	}
	return o;
}

static void die(const char *what)
{
	fprintf(stderr, "cull_quality: %s\n", what);
	exit(1);
}

static void make_room(void)
{
	struct cull_need need = {.reason = "limits"};
	uint64_t run = CAPACITY / 100 * RUN_PCT, low = CAPACITY / 100 * CULL_PCT, wait;
	uint64_t avail = CAPACITY > w.used_blocks ? CAPACITY - w.used_blocks : 0;

	if (avail >= low)
		return;
	while ((avail = CAPACITY > w.used_blocks ? CAPACITY - w.used_blocks : 0) < run) {
		need.is_wanted = true;
		need.deficit_bytes = (run - avail) * BLOCK;
		if (cull_step(&w.cull, &need, w.now, w.now, &wait) == CULL_WAIT)
			die("nothing can be culled");
	}
	need.is_wanted = false;
	cull_step(&w.cull, &need, w.now, w.now, &wait);
}

static void store_task(uint32_t i)
{
	struct record r = {.info = {.state = STORE_PARTIAL, .piece_length = 4096}};
	uint8_t print[STORE_FPRINT_SIZE] = {0};
	struct store_info info;
	struct partial *p;
	struct task *k = NULL;
	int data, ro, rec;
	uint64_t bytes;

	r.info.created_ns = w.now;
	snprintf(r.info.id, sizeof(r.info.id), "%u", i);
	if (layout_create(&w.depot->layout, &r, 0, &data, &ro, &rec))
		die("cannot create a task");
	close(data);
	close(ro);
	if (depot_add_partial(w.depot, &r, 0, &p) ||
		depot_commit_begin(w.depot, r.info.id, print, &k, &info) ||
		layout_commit(&w.depot->layout, &r, rec, false, false, &bytes))
		die("cannot commit a task");
	depot_commit_end(w.depot, k, p, &r, size_of[i] * BLOCK);
	close(rec);
}

/* odd numbers are tasks of the store, even ones objects of the other tenant */
static double combined(const struct trace *t, const char *dir)
{
	static struct cull_source_ops kernel_ops = {.name = "kernel",
		.oldest = kernel_oldest,
		.recheck = kernel_recheck,
		.remove = kernel_remove,
		.begin = nothing,
		.end = nothing};
	static struct cull_source_ops task_ops;
	struct depot_settings set = {
		.limits = {.blocks = {RUN_PCT, CULL_PCT, 1}, .files = {3, 2, 1}}};
	struct depot_world world = {.now = world_now, .space = world_space};
	struct cull_source *sources[2];
	char reason[256], path[4096];
	uint32_t hits = 0;
	int dirfd;

	memset(&w, 0, sizeof(w));
	w.now = 1700000000ull * SEC;
	snprintf(path, sizeof(path), "%s/%s", dir, t->name);
	mkdir(path, 0700);
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0 || depot_new(&w.depot, dirfd, &set, &world, reason))
		die("no store");
	task_ops = *w.depot->source.ops;
	tasks_remove = task_ops.remove;
	task_ops.remove = counted_remove;
	w.depot->source.ops = &task_ops;
	w.kernel.ops = &kernel_ops;
	sources[0] = &w.kernel;
	sources[1] = &w.depot->source;
	cull_init(&w.cull, sources, 2);
	for (uint32_t s = 0; s < t->n; s++) {
		uint32_t i = t->step[s];
		char id[16];

		w.now += SEC;
		if (i % 2 == 0) {
			struct object *o = &w.kernel_objects[i];

			hits += o->is_here;
			if (!o->is_here)
				w.used_blocks += size_of[i];
			o->is_here = true;
			o->used = w.now;
		} else {
			snprintf(id, sizeof(id), "%u", i);
			if (depot_touch(w.depot, id)) {
				hits++;
			} else {
				store_task(i);
				w.used_blocks += size_of[i];
			}
		}
		make_room();
	}
	depot_free(w.depot);
	close(dirfd);
	return 100.0 * hits / t->n;
}

/* one cache of everything; @optimal: by the next use instead of the last */
static double ideal(const struct trace *t, bool optimal)
{
	static struct object o[N_OBJECTS];
	static uint32_t next[N_STEPS], at[N_OBJECTS];
	uint64_t room = CAPACITY - CAPACITY / 100 * CULL_PCT, used = 0;
	uint32_t hits = 0;

	memset(o, 0, sizeof(o));
	memset(at, 0xff, sizeof(at));
	for (uint32_t s = t->n; s-- > 0;) {
		next[s] = at[t->step[s]];
		at[t->step[s]] = s;
	}
	for (uint32_t s = 0; s < t->n; s++) {
		struct object *x = &o[t->step[s]];

		hits += x->is_here;
		if (!x->is_here)
			used += size_of[t->step[s]];
		x->is_here = true;
		x->used = s;
		x->next = next[s];
		while (used > room) {
			uint32_t victim = N_OBJECTS;

			for (uint32_t i = 0; i < N_OBJECTS; i++)
				if (o[i].is_here && (victim == N_OBJECTS ||
							    (optimal ? o[i].next > o[victim].next
								     : o[i].used < o[victim].used)))
					victim = i;
			o[victim].is_here = false;
			used -= size_of[victim];
		}
	}
	return 100.0 * hits / t->n;
}

int main(int argc, char **argv)
{
	static struct trace traces[] = {
		{.name = "zipf"}, {.name = "scans"}, {.name = "checkpoints"}};

	if (argc != 2)
		return 2;
	log_set_level(LOG_CRIT);
	for (uint32_t i = 0; i < N_OBJECTS; i++)
		size_of[i] = 1 + below(40);
	make_zipf(&traces[0]);
	make_scans(&traces[1]);
	make_checkpoints(&traces[2]);
	printf("| trace | combined order | one ideal LRU | offline optimum |\n|---|---|---|---|\n");
	for (size_t i = 0; i < ARRAY_SIZE(traces); i++)
		printf("| %s | %.1f %% | %.1f %% | %.1f %% |\n", traces[i].name,
			combined(&traces[i], argv[1]), ideal(&traces[i], false),
			ideal(&traces[i], true));
	return 0;
}
