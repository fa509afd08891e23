/* SPDX-License-Identifier: GPL-2.0-or-later */
/* depot.h — the index of the piece store: what is here, who uses it, what goes next.
 *
 * One entry of about 150 bytes for each complete task and one for each partial; everything else
 * stays on disk. The door thread, its workers and the culling thread use it at the same time: every
 * function takes the lock itself, and none holds it over anything that may wait for the disk: a
 * rename waits for the journal, tens of milliseconds while much is removed. The only file operation
 * under the lock is statfs.
 *
 * States: a partial becomes a complete task by commit. Complete tasks that are neither pinned nor
 * leased wait in `lru`, ordered by time of use; with an expiry they also wait in `expiry`. Removal
 * hides the entry, renames its directory to trash/, and takes the entry out of the index: new readers
 * do not find it from the first step on, a commit of the same id waits for the last; those who read it
 * keep their descriptors.
 */
#ifndef CACHEFILESD_STORE_DEPOT_H
#define CACHEFILESD_STORE_DEPOT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cachefilesd/api/store.h"
#include "cachefilesd/limits.h"
#include "cachefilesd/source.h"
#include "cachefilesd/store/layout.h"
#include "cachefilesd/store/wallclock.h"
#include "common/heap.h"
#include "common/list.h"
#include "common/map.h"

struct buf;

struct depot_settings {
	struct limits limits;
	uint64_t max_bytes; /* of all tasks together; 0 = no bound */
	uint64_t max_age_ns; /* since the last use, of what is not pinned; 0 = no bound */
	unsigned pins_max_pct; /* of the file system; 0 = no bound */
	unsigned pins_uid_max_pct; /* of the file system, for each uid; 0 = no bound */
	uint64_t grace_ns; /* after start, and after a writer left: nothing of it is culled */
	bool verity;
};

/* Where time and free space come from; a test puts its own here. */
struct depot_space {
	uint64_t block_size, blocks_total, blocks_avail, files_total, files_avail;
};
struct depot_world {
	struct wallclock_now (*now)(void *arg);
	int (*space)(void *arg, int fd, struct depot_space *out);
	void *arg;
};

struct task {
	struct map_node by_id;
	struct heap_node lru; /* key: time of use, also while it is not in the heap */
	struct heap_node expiry; /* key: expires_ns, 0 = never and not in the heap */
	uint64_t length, bytes, created_ns, generation;
	uint8_t fingerprint[STORE_FPRINT_SIZE];
	uint32_t piece_length, uid, slot, n_leases;
	bool is_pinned, is_committing, is_removed, is_failed;
	bool is_leaving; /* hidden while its directory is moved to trash/ */
	bool is_stamp_due; /* its time of use is not on the disk yet */
	char id[];
};

/* Times of use that wait to be written; beyond this many, all tasks are looked through. */
#define DEPOT_STAMPS 1024

struct partial {
	struct map_node by_token;
	struct list link; /* in depot.partials, oldest first */
	struct store_info info; /* n_present and leased are kept; bytes_on_disk is the reserve */
	uint8_t token[STORE_TOKEN_SIZE];
	uint64_t orphan_since_ns; /* monotonic; meaningful while not leased */
	bool is_failed; /* could not be removed: not offered again in this run */
};

/* What was removed other than by culling, and why. */
#define DEPOT_REMOVALS 256
struct depot_removal {
	uint64_t at_ns, used_ns, bytes;
	const char *why; /* a constant */
	char id[STORE_ID_MAX + 1];
};

struct depot {
	pthread_mutex_t lock;
	struct layout layout;
	struct depot_settings set;
	struct depot_world world;
	struct wallclock clock;
	uint64_t started_mono_ns, clock_written_ns;

	struct map by_id, by_token;
	struct heap lru, expiry;
	struct list partials;
	struct task *
		*slots; /* for list: a stable number for each task; odd values are free slots */
	uint32_t n_slots, cap_slots, free_slot;

	/* bytes on disk: of complete tasks, of those pinned, of those that could be culled; the
	 * reserves of partials; promises admitted and not yet visible in the free space */
	uint64_t task_bytes, pinned_bytes, cullable_bytes, partial_bytes, promised_bytes;
	uint64_t held_bytes; /* of removed tasks that somebody still reads: free when they end */
	size_t n_tasks, n_pinned, n_partials;
	struct uid_pins *uids; /* pinned bytes of each uid that has any */
	size_t n_uids;

	uint32_t stamps[DEPOT_STAMPS]; /* slots of tasks with is_stamp_due */
	uint32_t n_stamps, stamp_at;
	bool stamp_all; /* more are due than are in stamps: from slot stamp_at on */

	struct cull_source source;
	char offered[STORE_ID_MAX + 1]; /* candidate of source.oldest(): an id, or … */
	uint8_t offered_token[STORE_TOKEN_SIZE]; /* … a partial, when the id is empty */
	uint64_t offered_used_ns;
	bool has_offer;

	struct depot_removal removals[DEPOT_REMOVALS]; /* ring */
	size_t n_removals; /* ever */

	/* totals since the start */
	uint64_t n_committed, n_culled, culled_bytes, n_expired, n_deleted, n_damaged;
};

/* depot_new - open (or make) pieces/ in @dirfd and read what is there. Damaged entries are moved to
 * trash/ and reported in the log. @world NULL = this machine. @reason (256 bytes) on failure. */
int depot_new(struct depot **out, int dirfd, const struct depot_settings *set,
	const struct depot_world *world, char *reason);
struct depot *depot_free(struct depot *t); /* NULL */
void depot_reload(struct depot *t, const struct depot_settings *set);

uint64_t depot_wall_ns(struct depot *t);

/* ---- space ---- */

struct depot_figures {
	struct depot_space space;
	struct limits_thresholds thresholds;
	uint64_t free_bytes; /* for new tasks: available less what is promised */
	uint64_t task_bytes, pinned_bytes, cullable_bytes, partial_bytes, promised_bytes,
		held_bytes;
	size_t n_tasks, n_pinned, n_partials, n_leased;
	uint64_t n_committed, n_culled, culled_bytes, n_expired, n_deleted, n_damaged;
	bool clock_is_doubtful;
};
void depot_figures(struct depot *t, struct depot_figures *f);

/* depot_admit - may @reserve more bytes be promised? STORE_OK: they are promised until
 * depot_settle(). STORE_NO_SPACE: not now; *wanted_free is the number of bytes that must be
 * available; STORE_LIMIT: a bound that waiting does not help. @message (STORE_MESSAGE_MAX) has the
 * sentence with the numbers. */
enum store_status depot_admit(struct depot *t, uint64_t reserve, bool pin, uid_t uid,
	uint64_t *wanted_free, char *message);
/* depot_may_pin - may @bytes more of @uid be pinned? STORE_OK or STORE_LIMIT and the sentence */
enum store_status depot_may_pin(struct depot *t, uint64_t bytes, uid_t uid, char *message);
void depot_settle(struct depot *t, uint64_t reserve);
/* depot_is_tight - would @reserve more bytes make something else go, or wait? */
bool depot_is_tight(struct depot *t, uint64_t reserve);
/* depot_over_max - bytes by which the tasks exceed their own bound, were @more added */
uint64_t depot_over_max(struct depot *t, uint64_t more);

/* depot_removals - the latest, newest first, into @out (at most @max); returns how many */
size_t depot_removals(struct depot *t, struct depot_removal *out, size_t max);

/* ---- partials: the pointers are the door thread's; while leased, an entry stays ---- */

int depot_add_partial(struct depot *t, const struct record *r, uint64_t reserve,
	struct partial **out); /* leased to the caller */
/* depot_lease_partial - STORE_OK, NOT_FOUND, BUSY (somebody has it) */
enum store_status depot_lease_partial(
	struct depot *t, const uint8_t token[STORE_TOKEN_SIZE], struct partial **out);
/* depot_lease_orphan - the partial that a create described by @want would begin once more: same id,
 * uid, shape and generation, and nobody has it. It takes pin and expiry of @want. NULL = none. */
struct partial *depot_lease_orphan(struct depot *t, const struct store_info *want);
void depot_unlease_partial(struct depot *t, struct partial *p);
/* depot_drop_partial - remove it, data and all; the pointer is gone. @name: its entry in trash/ */
int depot_drop_partial(struct depot *t, struct partial *p);
/* depot_find_partial - a partial meant for @id, unleased and newest first; the token and info */
bool depot_find_partial(
	struct depot *t, const char *id, struct store_info *info, uint8_t token[STORE_TOKEN_SIZE]);

/* ---- complete tasks ---- */

/* depot_commit_begin - claim @id for a commit. OK: *out is an entry that nobody sees yet;
 * EXISTS_SAME / EXISTS_DIFFERENT (by fingerprint, *info set); BUSY: another commit of the same id
 * is on its way, try again when it is over; IO: no memory. */
enum store_status depot_commit_begin(struct depot *t, const char *id,
	const uint8_t fingerprint[STORE_FPRINT_SIZE], struct task **out, struct store_info *info);
/* depot_commit_end - @r and @bytes when it succeeded (then @p is gone), @r NULL when it failed */
void depot_commit_end(struct depot *t, struct task *task, struct partial *p, const struct record *r,
	uint64_t bytes);
bool depot_info(struct depot *t, const char *id, struct store_info *info);
/* depot_lease - find, mark as used now, protect; NULL = not here */
struct task *depot_lease(struct depot *t, const char *id, struct store_info *info);
/* depot_unlease - @used: it counts as a use up to now */
void depot_unlease(struct depot *t, struct task *task, bool used);
bool depot_touch(struct depot *t, const char *id);
/* depot_write_stamps - times of use that changed, to the disk: the order of culling outlives us. Blocks
 * as the file system does. */
void depot_write_stamps(struct depot *t);
/* depot_touch_shape - tasks of this shape count as used now: an import of the same content is on its
 * way and must not cull the copy that is here. */
void depot_touch_shape(struct depot *t, uint64_t length, uint32_t piece_length);
/* depot_find_shape - is there a task of this shape? (any of them) */
bool depot_find_shape(
	struct depot *t, uint64_t length, uint32_t piece_length, struct store_info *info);
void depot_set_pinned(struct depot *t, struct task *task, bool pinned);
void depot_set_expires(struct depot *t, struct task *task, uint64_t expires_ns);
/* depot_remove - out of the index and into trash/ at once, whoever reads it. @why, a constant, is for the
 * log and the record of removals. @only: not another task that has got this id meanwhile; NULL = any.
 * Blocks as a rename does.
 * STORE_OK, NOT_FOUND, IO */
enum store_status depot_remove(
	struct depot *t, const char *id, const struct task *only, const char *why);
/* depot_list - up to @max entries from *cursor (0 = first); *cursor is moved on, 0 = end */
size_t depot_list(struct depot *t, uint64_t *cursor, struct store_info *out, size_t max);

/* depot_expire - remove what is past its time (and past max_age, and beyond max_bytes). Returns
 * the number removed; *next_ns: wall-clock time when to call again, 0 = nothing is waiting. Blocks as
 * renames do; one call at a time. */
unsigned depot_expire(struct depot *t, uint64_t *next_ns);

#endif
