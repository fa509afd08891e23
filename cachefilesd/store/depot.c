/* SPDX-License-Identifier: GPL-2.0-or-later */
/* depot.c — see depot.h.
 *
 * Two accounts are kept up to date by every change and checked by the tests against the sum over
 * all entries: bytes (all, pinned, cullable) and pinned bytes for each uid. A task is in `lru` if
 * and only if it could be culled now; account() is called around every change of a task's state.
 */
#include "cachefilesd/store/depot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>

#include "cachefilesd/store/depot_source.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/num.h"

#define SECOND       1000000000ull
#define CLOCK_PERIOD (60 * SECOND)
#define EXPIRE_BATCH 500 /* renames in one go */
#define INODES_EACH  3 /* directory, data, record */
#define PARTIALS     (1ull << 63) /* list cursors: the second part of the list */
#define SLOT_NONE    UINT32_MAX
#define ORPHAN_KEEP  (24 * 3600 * SECOND) /* for those who come back for an unfinished task */

struct uid_pins {
	uid_t uid;
	uint64_t bytes;
};

static void lock(struct depot *t)
{
	pthread_mutex_lock(&t->lock);
}

static void unlock(struct depot *t)
{
	pthread_mutex_unlock(&t->lock);
}

static struct wallclock_now world_now(struct depot *t)
{
	return t->world.now ? t->world.now(t->world.arg) : wallclock_read();
}

uint64_t depot_wall_ns(struct depot *t)
{
	return world_now(t).wall_ns;
}

/* ---- accounts -------------------------------------------------------------------------------- */

static bool is_cullable(const struct task *k)
{
	return !k->is_pinned && !k->n_leases && !k->is_committing && !k->is_leaving &&
	       !k->is_removed && !k->is_failed;
}

/* room was made when the task was added, so this cannot fail */
static struct uid_pins *uid_find(struct depot *t, uid_t uid)
{
	for (size_t i = 0; i < t->n_uids; i++)
		if (t->uids[i].uid == uid)
			return &t->uids[i];
	return NULL;
}

static int uid_add(struct depot *t, uid_t uid)
{
	struct uid_pins *v;

	if (uid_find(t, uid))
		return 0;
	v = realloc(t->uids, (t->n_uids + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	t->uids = v;
	v[t->n_uids++] = (struct uid_pins){.uid = uid};
	return 0;
}

/* take the task out of the accounts and the heap (before a change), or put it back (after) */
static void account(struct depot *t, struct task *k, bool in)
{
	uint64_t sign = in ? 1 : (uint64_t)-1;

	if (k->is_committing || k->is_leaving || k->is_removed)
		return;
	t->task_bytes += sign * k->bytes;
	t->n_tasks += (size_t)sign;
	if (k->is_pinned) {
		struct uid_pins *u = uid_find(t, k->uid);

		t->pinned_bytes += sign * k->bytes;
		t->n_pinned += (size_t)sign;
		if (u)
			u->bytes += sign * k->bytes;
	}
	if (is_cullable(k)) {
		t->cullable_bytes += sign * k->bytes;
		if (in)
			heap_insert(&t->lru, &k->lru, k->lru.key); /* room was reserved */
		else
			heap_remove(&t->lru, &k->lru);
	}
}

static void set_expiry(struct depot *t, struct task *k, uint64_t expires_ns)
{
	heap_remove(&t->expiry, &k->expiry);
	k->expiry.key = expires_ns;
	if (expires_ns)
		heap_insert(&t->expiry, &k->expiry, expires_ns); /* room was reserved */
}

/* ---- slots: stable numbers for list ---------------------------------------------------------- */

static int slot_take(struct depot *t, struct task *k)
{
	if (t->free_slot != SLOT_NONE) {
		k->slot = t->free_slot;
		t->free_slot = (uint32_t)((uintptr_t)t->slots[k->slot] >> 1);
		t->slots[k->slot] = k;
		return 0;
	}
	if (t->n_slots == t->cap_slots) {
		uint32_t cap = t->cap_slots ? t->cap_slots + t->cap_slots / 2 : 64;
		struct task **v = realloc(t->slots, cap * sizeof(struct task *));

		if (!v)
			return -ENOMEM;
		t->slots = v;
		t->cap_slots = cap;
	}
	k->slot = t->n_slots++;
	t->slots[k->slot] = k;
	return 0;
}

static void slot_give(struct depot *t, struct task *k)
{
	t->slots[k->slot] = (struct task *)((uintptr_t)t->free_slot << 1 | 1);
	t->free_slot = k->slot;
}

static struct task *slot_task(const struct depot *t, uint32_t i)
{
	return (uintptr_t)t->slots[i] & 1 ? NULL : t->slots[i];
}

/* ---- entries --------------------------------------------------------------------------------- */

/* an entry that is indexed but not yet visible */
static int task_new(struct depot *t, const char *id, struct task **out)
{
	size_t len = strlen(id);
	struct task *k = calloc(1, sizeof(*k) + len + 1);
	int rc;

	if (!k)
		return -ENOMEM;
	memcpy(k->id, id, len + 1);
	k->is_committing = true;
	rc = slot_take(t, k);
	if (rc) {
		free(k);
		return rc;
	}
	/* later inserts must not fail: room for everybody in both heaps */
	rc = heap_reserve(&t->lru, t->n_slots);
	if (!rc)
		rc = heap_reserve(&t->expiry, t->n_slots);
	if (!rc)
		rc = map_insert(&t->by_id, &k->by_id, k->id, len);
	if (rc) {
		slot_give(t, k);
		free(k);
		return rc;
	}
	*out = k;
	return 0;
}

static void task_forget(struct depot *t, struct task *k)
{
	slot_give(t, k);
	free(k);
}

static void task_fill(
	struct depot *t, struct task *k, const struct record *r, uint64_t bytes, uint64_t used_ns)
{
	k->length = r->info.length;
	k->piece_length = r->info.piece_length;
	k->created_ns = r->info.created_ns;
	k->generation = r->info.generation;
	k->uid = r->info.uid;
	k->bytes = bytes;
	k->is_pinned = r->pinned;
	memcpy(k->fingerprint, r->info.fingerprint, sizeof(k->fingerprint));
	k->lru.key = used_ns > k->created_ns ? used_ns : k->created_ns;
	k->is_committing = false;
	account(t, k, true);
	set_expiry(t, k, r->info.expires_ns);
}

static uint32_t n_pieces(uint64_t length, uint32_t piece_length)
{
	return length ? (uint32_t)((length + piece_length - 1) / piece_length) : 0;
}

static void task_info(const struct task *k, struct store_info *i)
{
	*i = (struct store_info){.state = STORE_COMPLETE,
		.pinned = k->is_pinned,
		.leased = k->n_leases > 0,
		.deleted = k->is_removed,
		.piece_length = k->piece_length,
		.n_pieces = n_pieces(k->length, k->piece_length),
		.n_present = n_pieces(k->length, k->piece_length),
		.length = k->length,
		.bytes_on_disk = k->bytes,
		.created_ns = k->created_ns,
		.used_ns = k->lru.key,
		.expires_ns = k->expiry.key,
		.uid = k->uid,
		.generation = k->generation};
	memcpy(i->fingerprint, k->fingerprint, sizeof(i->fingerprint));
	strcpy(i->id, k->id);
}

static struct task *find(const struct depot *t, const char *id)
{
	struct map_node *n = map_find(&t->by_id, id, strlen(id));
	struct task *k = n ? container_of(n, struct task, by_id) : NULL;

	return k && !k->is_committing && !k->is_leaving ? k : NULL;
}

/* a task that clients may see */
static bool is_here(const struct task *k)
{
	return k && !k->is_committing && !k->is_leaving && !k->is_removed;
}

/* ---- start-up -------------------------------------------------------------------------------- */

static void report_damaged(struct depot *t, const struct layout_entry *e)
{
	char name[LAYOUT_TRASH_TEXT];
	int rc = -EINVAL;

	if (e->error != -EINVAL && e->error != -ENOTSUP) {
		t->n_damaged++;
		uint8_t token[STORE_TOKEN_SIZE];

		if (!e->is_partial)
			rc = layout_trash_task(&t->layout, e->name, 'd', name);
		else if (!layout_token_parse(e->name, token))
			rc = layout_trash_partial(&t->layout, token, 'd', name);
	}
	LOG_LIMITED(LOG_WARNING, "store: %s name=%.*s reason=%s%s",
		e->error == -EINVAL    ? "a name that is not ours, left alone"
		: e->error == -ENOTSUP ? "a record made by a newer version, left alone"
		: e->is_partial        ? "an unfinished task does not verify and is dropped"
				       : "a task does not verify and is dropped",
		STORE_ID_MAX, e->name, strerror(-e->error),
		rc && e->error != -EINVAL && e->error != -ENOTSUP ? " (and cannot be removed)"
								  : "");
}

static int load_partial(struct depot *t, const struct layout_entry *e)
{
	struct partial *p;
	int rc = depot_add_partial(t, e->r, e->bytes, &p);

	if (rc)
		return rc;
	p->info.state = STORE_PARTIAL;
	p->info.n_present = e->n_present;
	p->info.leased = false;
	p->orphan_since_ns = t->started_mono_ns;
	return 0;
}

static int load_entry(void *arg, const struct layout_entry *e)
{
	struct depot *t = arg;
	struct task *k;
	int rc;

	if (e->error == -ENOMEM || e->error == -EMFILE || e->error == -ENFILE)
		return e->error;
	if (e->error) {
		report_damaged(t, e);
		return 0;
	}
	if (e->is_partial)
		return load_partial(t, e);
	if (uid_add(t, e->r->info.uid))
		return -ENOMEM;
	rc = task_new(t, e->name, &k);
	if (rc)
		return rc;
	/* used in the future? Then the clock was wrong, and it must not stay for ever */
	task_fill(t, k, e->r, e->bytes,
		e->used_ns < t->clock.believed_ns ? e->used_ns : t->clock.believed_ns);
	return 0;
}

int depot_new(struct depot **out, int dirfd, const struct depot_settings *set,
	const struct depot_world *world, char *reason)
{
	struct depot *t = calloc(1, sizeof(*t));
	uint64_t recorded;
	int rc;

	if (!t)
		return -ENOMEM;
	t->set = *set;
	t->free_slot = SLOT_NONE;
	if (world)
		t->world = *world;
	pthread_mutex_init(&t->lock, NULL);
	list_init(&t->partials);
	depot_source_init(t);
	rc = layout_open(&t->layout, dirfd, reason);
	if (rc) {
		pthread_mutex_destroy(&t->lock);
		free(t);
		return rc;
	}
	t->started_mono_ns = world_now(t).mono_ns;
	recorded = layout_read_clock(&t->layout);
	t->clock.believed_ns = world_now(t).wall_ns;
	if (recorded > t->clock.believed_ns)
		t->clock.believed_ns = recorded;
	layout_empty_trash(&t->layout, true);
	rc = layout_walk(&t->layout, load_entry, t);
	if (rc) {
		snprintf(reason, 256, "cannot read pieces/: %s", strerror(-rc));
		depot_free(t);
		return rc;
	}
	wallclock_start(&t->clock, recorded, world_now(t));
	if (wallclock_is_doubtful(&t->clock))
		log_warning("store: the clock is not where it was left, nothing expires until it "
			    "is believed");
	*out = t;
	return 0;
}

struct depot *depot_free(struct depot *t)
{
	struct list *n;

	if (!t)
		return NULL;
	depot_write_stamps(t);
	for (uint32_t i = 0; i < t->n_slots; i++)
		free(slot_task(t, i));
	while ((n = list_pop(&t->partials)))
		free(container_of(n, struct partial, link));
	map_fini(&t->by_id);
	map_fini(&t->by_token);
	heap_fini(&t->lru);
	heap_fini(&t->expiry);
	free(t->slots);
	free(t->uids);
	layout_close(&t->layout);
	pthread_mutex_destroy(&t->lock);
	free(t);
	return NULL;
}

void depot_reload(struct depot *t, const struct depot_settings *set)
{
	lock(t);
	t->set = *set;
	unlock(t);
}

/* ---- space ----------------------------------------------------------------------------------- */

static int read_space(struct depot *t, struct depot_space *s)
{
	struct statfs st;

	if (t->world.space)
		return t->world.space(t->world.arg, t->layout.pieces, s);
	if (fstatfs(t->layout.pieces, &st))
		return -errno;
	*s = (struct depot_space){.block_size = (uint64_t)st.f_bsize,
		.blocks_total = st.f_blocks,
		.blocks_avail = st.f_bavail,
		.files_total = st.f_files,
		.files_avail = st.f_ffree};
	return 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static char *size_text(uint64_t bytes, char out[NUM_TEXT])
{
	return num_format_size(bytes, out, NUM_TEXT);
}

static void say_no_space(
	struct depot *t, char *message, const char *what, uint64_t wanted, uint64_t available)
{
	char a[NUM_TEXT], b[NUM_TEXT], c[NUM_TEXT], d[NUM_TEXT];

	snprintf(message, STORE_MESSAGE_MAX,
		"%s: wanted %s, available %s, pinned %s, cullable %s (wanted=%" PRIu64
		" available=%" PRIu64 " pinned=%" PRIu64 " cullable=%" PRIu64 ")",
		what, size_text(wanted, a), size_text(available, b), size_text(t->pinned_bytes, c),
		size_text(t->cullable_bytes, d), wanted, available, t->pinned_bytes,
		t->cullable_bytes);
}

static uint64_t total_over_max(const struct depot *t, uint64_t more)
{
	uint64_t sum = t->task_bytes + t->partial_bytes + t->promised_bytes;

	return t->set.max_bytes && sum + more > t->set.max_bytes ? sum + more - t->set.max_bytes
								 : 0;
}

/* pinned bytes on their way: of @uid, or of everybody (-1) */
static uint64_t pinned_partials(const struct depot *t, uid_t uid)
{
	uint64_t sum = 0;

	list_for_each (it, &t->partials) {
		const struct partial *p = list_entry(it, struct partial, link);

		if (p->info.pinned && (uid == (uid_t)-1 || p->info.uid == uid))
			sum += p->info.bytes_on_disk;
	}
	return sum;
}

static enum store_status admit_pin(
	struct depot *t, const struct depot_space *s, uint64_t reserve, uid_t uid, char *message)
{
	uint64_t total = s->blocks_total * s->block_size;
	struct uid_pins *u = uid_find(t, uid);
	uint64_t all = total / 100 * t->set.pins_max_pct,
		 own = total / 100 * t->set.pins_uid_max_pct;
	uint64_t held = t->pinned_bytes + pinned_partials(t, (uid_t)-1);
	uint64_t own_held = (u ? u->bytes : 0) + pinned_partials(t, uid);
	char a[NUM_TEXT], b[NUM_TEXT], c[NUM_TEXT];

	if (all && held + reserve > all) {
		snprintf(message, STORE_MESSAGE_MAX,
			"pinned tasks may hold %s (pins_max %u%%), they hold %s, wanted %s more",
			size_text(all, a), t->set.pins_max_pct, size_text(held, b),
			size_text(reserve, c));
		return STORE_LIMIT;
	}
	if (own && own_held + reserve > own) {
		snprintf(message, STORE_MESSAGE_MAX,
			"pinned tasks of uid %u may hold %s (pins_uid_max %u%%), they hold %s, "
			"wanted %s more",
			(unsigned)uid, size_text(own, a), t->set.pins_uid_max_pct,
			size_text(own_held, b), size_text(reserve, c));
		return STORE_LIMIT;
	}
	return STORE_OK;
}

static enum store_status admit(struct depot *t, uint64_t reserve, bool pin, uid_t uid,
	uint64_t *wanted_free, char *message)
{
	struct limits_thresholds th;
	struct depot_space s;
	uint64_t free_bytes, floor_bytes, over;
	enum store_status st;
	int rc = read_space(t, &s);

	if (rc) {
		snprintf(message, STORE_MESSAGE_MAX, "cannot read the free space: %s",
			strerror(-rc));
		return STORE_IO;
	}
	if (reserve > INT64_MAX || reserve > s.blocks_total * s.block_size) {
		say_no_space(t, message, "larger than the file system", reserve,
			s.blocks_total * s.block_size);
		return STORE_LIMIT;
	}
	st = pin ? admit_pin(t, &s, reserve, uid, message) : STORE_OK;
	if (st)
		return st;
	over = total_over_max(t, reserve);
	if (over > t->cullable_bytes) {
		say_no_space(t, message, "beyond tasks_max_size", reserve,
			less(t->set.max_bytes,
				t->task_bytes + t->partial_bytes + t->promised_bytes));
		return STORE_NO_SPACE;
	}
	th = limits_compute(&t->set.limits, s.blocks_total, s.files_total);
	floor_bytes = th.blocks.cull * s.block_size;
	free_bytes = less(s.blocks_avail * s.block_size, t->promised_bytes);
	*wanted_free = floor_bytes + t->promised_bytes + reserve;
	if (free_bytes < floor_bytes + reserve) {
		say_no_space(t, message, "no space", reserve, less(free_bytes, floor_bytes));
		return STORE_NO_SPACE;
	}
	if (s.files_total && s.files_avail < th.files.cull + INODES_EACH) {
		snprintf(message, STORE_MESSAGE_MAX,
			"no inodes: %" PRIu64 " free, culling begins below %" PRIu64, s.files_avail,
			th.files.cull);
		return STORE_NO_SPACE;
	}
	t->promised_bytes += reserve;
	return STORE_OK;
}

enum store_status depot_admit(struct depot *t, uint64_t reserve, bool pin, uid_t uid,
	uint64_t *wanted_free, char *message)
{
	enum store_status st;

	*wanted_free = 0;
	message[0] = '\0';
	lock(t);
	st = admit(t, reserve, pin, uid, wanted_free, message);
	unlock(t);
	return st;
}

enum store_status depot_may_pin(struct depot *t, uint64_t bytes, uid_t uid, char *message)
{
	enum store_status st = STORE_OK;
	struct depot_space s;

	lock(t);
	if (!read_space(t, &s))
		st = admit_pin(t, &s, bytes, uid, message);
	unlock(t);
	return st;
}

void depot_settle(struct depot *t, uint64_t reserve)
{
	lock(t);
	t->promised_bytes -= reserve;
	unlock(t);
}

bool depot_is_tight(struct depot *t, uint64_t reserve)
{
	struct limits_thresholds th;
	struct depot_space s;
	bool tight = false;

	lock(t);
	if (!read_space(t, &s)) {
		th = limits_compute(&t->set.limits, s.blocks_total, s.files_total);
		tight = total_over_max(t, reserve) ||
			less(s.blocks_avail * s.block_size, t->promised_bytes) <
				th.blocks.cull * s.block_size + reserve;
	}
	unlock(t);
	return tight;
}

uint64_t depot_over_max(struct depot *t, uint64_t more)
{
	uint64_t over;

	lock(t);
	over = total_over_max(t, more);
	unlock(t);
	return over;
}

void depot_figures(struct depot *t, struct depot_figures *f)
{
	*f = (struct depot_figures){0};
	lock(t);
	if (!read_space(t, &f->space))
		f->thresholds =
			limits_compute(&t->set.limits, f->space.blocks_total, f->space.files_total);
	f->free_bytes = less(f->space.blocks_avail * f->space.block_size, t->promised_bytes);
	f->task_bytes = t->task_bytes;
	f->pinned_bytes = t->pinned_bytes;
	f->cullable_bytes = t->cullable_bytes;
	f->partial_bytes = t->partial_bytes;
	f->promised_bytes = t->promised_bytes;
	f->held_bytes = t->held_bytes;
	f->n_tasks = t->n_tasks;
	f->n_pinned = t->n_pinned;
	f->n_partials = t->n_partials;
	f->n_committed = t->n_committed;
	f->n_culled = t->n_culled;
	f->culled_bytes = t->culled_bytes;
	f->n_expired = t->n_expired;
	f->n_deleted = t->n_deleted;
	f->n_damaged = t->n_damaged;
	f->clock_is_doubtful = wallclock_is_doubtful(&t->clock);
	for (uint32_t i = 0; i < t->n_slots; i++) {
		struct task *k = slot_task(t, i);

		f->n_leased += k && k->n_leases;
	}
	unlock(t);
}

/* ---- partials -------------------------------------------------------------------------------- */

int depot_add_partial(
	struct depot *t, const struct record *r, uint64_t reserve, struct partial **out)
{
	struct partial *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->info = r->info;
	p->info.state = STORE_PARTIAL;
	p->info.leased = true;
	p->info.bytes_on_disk = reserve;
	memcpy(p->token, r->token, sizeof(p->token));
	lock(t);
	rc = uid_add(t, r->info.uid);
	if (!rc)
		rc = map_insert(&t->by_token, &p->by_token, p->token, sizeof(p->token));
	if (!rc) {
		list_push(&t->partials, &p->link);
		t->partial_bytes += reserve;
		t->n_partials++;
	}
	unlock(t);
	if (rc) {
		free(p);
		return rc;
	}
	*out = p;
	return 0;
}

enum store_status depot_lease_partial(
	struct depot *t, const uint8_t token[STORE_TOKEN_SIZE], struct partial **out)
{
	enum store_status st = STORE_NOT_FOUND;
	struct map_node *n;

	lock(t);
	n = map_find(&t->by_token, token, STORE_TOKEN_SIZE);
	if (n) {
		*out = container_of(n, struct partial, by_token);
		st = (*out)->info.leased ? STORE_BUSY : STORE_OK;
		(*out)->info.leased = true;
	}
	unlock(t);
	return st;
}

struct partial *depot_lease_orphan(struct depot *t, const struct store_info *want)
{
	struct partial *found = NULL;

	lock(t);
	list_for_each (it, &t->partials) {
		struct partial *p = list_entry(it, struct partial, link);

		/* without a generation nobody can say that it is the same content */
		if (!p->info.leased && !p->is_failed && p->info.n_present && want->generation &&
			p->info.generation == want->generation && p->info.length == want->length &&
			p->info.piece_length == want->piece_length && p->info.uid == want->uid &&
			strcmp(p->info.id, want->id) == 0)
			found = p;
	}
	if (found) {
		found->info.leased = true;
		found->info.pinned = want->pinned;
		found->info.expires_ns = want->expires_ns;
	}
	unlock(t);
	return found;
}

void depot_unlease_partial(struct depot *t, struct partial *p)
{
	lock(t);
	p->info.leased = false;
	p->orphan_since_ns = world_now(t).mono_ns;
	/* orphans go in the order in which they were left */
	list_del(&p->link);
	list_push(&t->partials, &p->link);
	unlock(t);
}

void depot_partial_gone(struct depot *t, struct partial *p)
{
	map_remove(&t->by_token, &p->by_token);
	list_del(&p->link);
	t->partial_bytes -= p->info.bytes_on_disk;
	t->n_partials--;
	free(p);
}

int depot_take_out_partial(
	struct depot *t, struct partial *p, char mark, char name[LAYOUT_TRASH_TEXT])
{
	int rc;

	p->info.leased = true;
	unlock(t);
	rc = layout_trash_partial(&t->layout, p->token, mark, name);
	lock(t);
	if (!rc || rc == -ENOENT) {
		depot_partial_gone(t, p);
		return rc;
	}
	p->info.leased = false;
	p->is_failed = true;
	return rc;
}

int depot_drop_partial(struct depot *t, struct partial *p)
{
	char name[LAYOUT_TRASH_TEXT];
	int rc;

	lock(t);
	rc = depot_take_out_partial(t, p, 'd', name);
	unlock(t);
	return rc == -ENOENT ? 0 : rc;
}

bool depot_find_partial(
	struct depot *t, const char *id, struct store_info *info, uint8_t token[STORE_TOKEN_SIZE])
{
	struct partial *best = NULL;

	lock(t);
	list_for_each (it, &t->partials) {
		struct partial *p = list_entry(it, struct partial, link);

		if (strcmp(p->info.id, id) == 0 &&
			(!best || (best->info.leased && !p->info.leased) ||
				(best->info.leased == p->info.leased &&
					p->info.created_ns >= best->info.created_ns)))
			best = p;
	}
	if (best) {
		*info = best->info;
		memcpy(token, best->token, STORE_TOKEN_SIZE);
	}
	unlock(t);
	return best != NULL;
}

/* ---- complete tasks -------------------------------------------------------------------------- */

enum store_status depot_commit_begin(struct depot *t, const char *id,
	const uint8_t fingerprint[STORE_FPRINT_SIZE], struct task **out, struct store_info *info)
{
	enum store_status st;
	struct map_node *n;

	lock(t);
	n = map_find(&t->by_id, id, strlen(id));
	if (n) {
		struct task *k = container_of(n, struct task, by_id);

		if (k->is_committing || k->is_leaving) {
			st = STORE_BUSY;
		} else {
			st = memcmp(k->fingerprint, fingerprint, STORE_FPRINT_SIZE) == 0
				     ? STORE_EXISTS_SAME
				     : STORE_EXISTS_DIFFERENT;
			task_info(k, info);
		}
	} else {
		st = task_new(t, id, out) ? STORE_IO : STORE_OK;
	}
	unlock(t);
	return st;
}

void depot_commit_end(struct depot *t, struct task *task, struct partial *p, const struct record *r,
	uint64_t bytes)
{
	lock(t);
	if (r) {
		uint64_t now = world_now(t).wall_ns;

		depot_partial_gone(t, p);
		task_fill(t, task, r, bytes, now);
		t->n_committed++;
	} else {
		map_remove(&t->by_id, &task->by_id);
		task_forget(t, task);
	}
	unlock(t);
}

bool depot_info(struct depot *t, const char *id, struct store_info *info)
{
	struct task *k;

	lock(t);
	k = find(t, id);
	if (k)
		task_info(k, info);
	unlock(t);
	return k != NULL;
}

/* The time of use never goes back, whatever the clock does. It is written later: who opens a task must
 * not wait for the journal. */
static void used_now(struct depot *t, struct task *k)
{
	uint64_t now = world_now(t).wall_ns;

	if (now <= k->lru.key)
		return;
	k->lru.key = now;
	if (k->is_stamp_due || k->is_removed)
		return;
	k->is_stamp_due = true;
	if (t->n_stamps < DEPOT_STAMPS) {
		t->stamps[t->n_stamps++] = k->slot;
	} else {
		t->stamp_all = true;
		t->stamp_at = 0;
	}
}

/* one whose time of use is due; NULL = none. Lock held. */
static struct task *next_stamp(struct depot *t)
{
	for (;;) {
		while (t->n_stamps) {
			struct task *k = slot_task(t, t->stamps[--t->n_stamps]);

			/* the slot may be another's by now */
			if (k && k->is_stamp_due) {
				k->is_stamp_due = false;
				return k;
			}
		}
		if (!t->stamp_all)
			return NULL;
		for (; t->stamp_at < t->n_slots && t->n_stamps < DEPOT_STAMPS; t->stamp_at++) {
			struct task *k = slot_task(t, t->stamp_at);

			if (k && k->is_stamp_due)
				t->stamps[t->n_stamps++] = t->stamp_at;
		}
		t->stamp_all = t->stamp_at < t->n_slots;
	}
}

void depot_write_stamps(struct depot *t)
{
	char id[STORE_ID_MAX + 1];
	struct task *k;
	uint64_t used;

	for (;;) {
		lock(t);
		k = next_stamp(t);
		if (k) {
			strcpy(id, k->id);
			used = k->lru.key;
		}
		unlock(t);
		if (!k)
			return;
		layout_used(&t->layout, id, used);
	}
}

struct task *depot_lease(struct depot *t, const char *id, struct store_info *info)
{
	struct task *k;

	lock(t);
	k = find(t, id);
	if (k) {
		account(t, k, false);
		used_now(t, k);
		k->n_leases++;
		account(t, k, true);
		task_info(k, info);
	}
	unlock(t);
	return k;
}

void depot_unlease(struct depot *t, struct task *k, bool used)
{
	lock(t);
	account(t, k, false);
	if (used)
		used_now(t, k);
	k->n_leases--;
	account(t, k, true);
	if (k->is_removed && !k->n_leases) {
		t->held_bytes -= k->bytes;
		task_forget(t, k);
	}
	unlock(t);
}

bool depot_touch(struct depot *t, const char *id)
{
	struct task *k;

	lock(t);
	k = find(t, id);
	if (k) {
		account(t, k, false);
		used_now(t, k);
		account(t, k, true);
	}
	unlock(t);
	return k != NULL;
}

void depot_touch_shape(struct depot *t, uint64_t length, uint32_t piece_length)
{
	lock(t);
	for (uint32_t i = 0; i < t->n_slots; i++) {
		struct task *k = slot_task(t, i);

		if (!is_here(k) || k->length != length || k->piece_length != piece_length)
			continue;
		account(t, k, false);
		used_now(t, k);
		account(t, k, true);
	}
	unlock(t);
}

bool depot_find_shape(
	struct depot *t, uint64_t length, uint32_t piece_length, struct store_info *info)
{
	bool found = false;

	lock(t);
	for (uint32_t i = 0; i < t->n_slots && !found; i++) {
		struct task *k = slot_task(t, i);

		found = is_here(k) && k->length == length && k->piece_length == piece_length;
		if (found)
			task_info(k, info);
	}
	unlock(t);
	return found;
}

void depot_set_pinned(struct depot *t, struct task *k, bool pinned)
{
	lock(t);
	account(t, k, false);
	k->is_pinned = pinned;
	account(t, k, true);
	unlock(t);
}

void depot_set_expires(struct depot *t, struct task *k, uint64_t expires_ns)
{
	lock(t);
	if (k->is_removed || k->is_leaving)
		k->expiry.key = expires_ns;
	else
		set_expiry(t, k, expires_ns);
	unlock(t);
}

int depot_take_out(struct depot *t, struct task *k, char mark, char name[LAYOUT_TRASH_TEXT])
{
	int rc;

	account(t, k, false);
	heap_remove(&t->expiry, &k->expiry);
	k->is_leaving = true;
	unlock(t);
	rc = layout_trash_task(&t->layout, k->id, mark, name);
	lock(t);
	k->is_leaving = false;
	if (rc && rc != -ENOENT) {
		account(t, k, true);
		set_expiry(t, k, k->expiry.key);
		return rc;
	}
	map_remove(&t->by_id, &k->by_id);
	k->is_removed = true;
	if (k->n_leases)
		t->held_bytes += k->bytes;
	else
		task_forget(t, k);
	return rc;
}

/* as depot_take_out(), and remember why */
static int take_out_because(struct depot *t, struct task *k, const char *why)
{
	struct depot_removal r = {.at_ns = world_now(t).wall_ns,
		.used_ns = k->lru.key,
		.bytes = k->bytes,
		.why = why};
	char name[LAYOUT_TRASH_TEXT];
	int rc;

	strcpy(r.id, k->id);
	rc = depot_take_out(t, k, 'd', name);
	if (!rc)
		t->removals[t->n_removals++ % DEPOT_REMOVALS] = r;
	return rc;
}

size_t depot_removals(struct depot *t, struct depot_removal *out, size_t max)
{
	size_t n;

	lock(t);
	n = t->n_removals < DEPOT_REMOVALS ? t->n_removals : DEPOT_REMOVALS;
	n = n < max ? n : max;
	for (size_t i = 0; i < n; i++)
		out[i] = t->removals[(t->n_removals - 1 - i) % DEPOT_REMOVALS];
	unlock(t);
	return n;
}

enum store_status depot_remove(
	struct depot *t, const char *id, const struct task *only, const char *why)
{
	struct task *k;
	int rc = -ENOENT;

	lock(t);
	k = find(t, id);
	if (k && (!only || only == k)) {
		rc = take_out_because(t, k, why);
		t->n_deleted += !rc;
	}
	unlock(t);
	if (!rc)
		log_info("store: task removed id=%s reason=%s", id, why);
	else if (rc != -ENOENT)
		log_err("store: task cannot be removed id=%s reason=%s", id, strerror(-rc));
	return !rc ? STORE_OK : rc == -ENOENT ? STORE_NOT_FOUND : STORE_IO;
}

static size_t list_partials(
	struct depot *t, uint64_t *cursor, struct store_info *out, size_t max, size_t n)
{
	uint64_t i = 0, from = *cursor & ~PARTIALS;

	list_for_each (it, &t->partials) {
		if (i++ < from)
			continue;
		if (n == max) {
			*cursor = PARTIALS | (i - 1);
			return n;
		}
		out[n++] = list_entry(it, struct partial, link)->info;
	}
	*cursor = 0;
	return n;
}

size_t depot_list(struct depot *t, uint64_t *cursor, struct store_info *out, size_t max)
{
	size_t n = 0;

	lock(t);
	if (!(*cursor & PARTIALS)) {
		uint64_t i = *cursor;

		for (; i < t->n_slots && n < max; i++) {
			struct task *k = slot_task(t, (uint32_t)i);

			if (is_here(k))
				task_info(k, &out[n++]);
		}
		*cursor = i < t->n_slots ? i : PARTIALS;
	}
	if (*cursor & PARTIALS)
		n = list_partials(t, cursor, out, max, n);
	unlock(t);
	return n;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* the first entry past its time: expired, too old, or beyond the bound on all tasks */
static struct task *due(struct depot *t, uint64_t now, const char **why)
{
	struct heap_node *e = heap_first(&t->expiry), *l = heap_first(&t->lru);

	if (now && e && e->key <= now) {
		*why = "expired";
		return container_of(e, struct task, expiry);
	}
	if (l && now && t->set.max_age_ns && l->key + t->set.max_age_ns <= now) {
		*why = "unused for tasks_max_age";
		return container_of(l, struct task, lru);
	}
	if (l && total_over_max(t, 0)) {
		*why = "beyond tasks_max_size";
		return container_of(l, struct task, lru);
	}
	return NULL;
}

static struct partial *due_partial(struct depot *t, uint64_t now, uint64_t mono_ns)
{
	list_for_each (it, &t->partials) {
		struct partial *p = list_entry(it, struct partial, link);
		bool is_over = p->info.expires_ns && now && p->info.expires_ns <= now;

		if (!p->info.leased && !p->is_failed &&
			(is_over || mono_ns - p->orphan_since_ns >= ORPHAN_KEEP))
			return p;
	}
	return NULL;
}

static unsigned expire_partials(struct depot *t, uint64_t now, uint64_t mono_ns)
{
	char name[LAYOUT_TRASH_TEXT];
	struct partial *p;
	unsigned n = 0;

	while ((p = due_partial(t, now, mono_ns)))
		n += !depot_take_out_partial(t, p, 'd', name);
	return n;
}

unsigned depot_expire(struct depot *t, uint64_t *next_ns)
{
	struct wallclock_now now = world_now(t);
	struct heap_node *first;
	struct task *k;
	const char *why;
	unsigned n = 0;
	uint64_t believed;
	bool is_doubtful;

	lock(t);
	believed = wallclock_expiry(&t->clock, now);
	while (n < EXPIRE_BATCH && (k = due(t, believed, &why))) {
		char id[STORE_ID_MAX + 1];
		int rc;

		strcpy(id, k->id);
		rc = take_out_because(t, k, why);
		if (rc && rc != -ENOENT) {
			log_err("store: task cannot be removed id=%s reason=%s", id, strerror(-rc));
			break;
		}
		log_info("store: task removed id=%s reason=%s", id, why);
		t->n_expired++;
		n++;
	}
	n += expire_partials(t, believed, now.mono_ns);
	first = heap_first(&t->expiry);
	*next_ns = first ? first->key : 0;
	if (n >= EXPIRE_BATCH)
		*next_ns = now.wall_ns; /* there may be more */
	is_doubtful = wallclock_is_doubtful(&t->clock);
	unlock(t);
	if (believed && believed > t->clock_written_ns + CLOCK_PERIOD && !is_doubtful &&
		!layout_write_clock(&t->layout, believed))
		t->clock_written_ns = believed;
	return n;
}

bool depot_below_stop(struct depot *t)
{
	struct limits_thresholds th;
	struct depot_space s;

	if (read_space(t, &s))
		return false;
	th = limits_compute(&t->set.limits, s.blocks_total, s.files_total);
	return limits_stopped(&th, s.blocks_avail, s.files_avail);
}

void depot_set_failed(struct depot *t, struct task *k, bool failed)
{
	account(t, k, false);
	k->is_failed = failed;
	account(t, k, true);
}
