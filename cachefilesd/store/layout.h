/* SPDX-License-Identifier: GPL-2.0-or-later */
/* layout.h — the files of the piece store: names, creation, commit, removal, the walk at start-up.
 *
 *   pieces/format                        a line with the version; locked while a daemon uses it
 *   pieces/clock                         the last wall-clock time that was believed
 *   pieces/tasks/<shard>/<id>/{data,meta}    complete; <shard> = two hex digits of crc32(id)
 *   pieces/incoming/<token>/{data,meta}      being written
 *   pieces/trash/<name>                  on the way out; emptied at start
 *
 * No index, no policy, no lock: every function works on descriptors and names, may block on the
 * disk, and may run on any thread. All return 0 or -errno unless said.
 */
#ifndef CACHEFILESD_STORE_LAYOUT_H
#define CACHEFILESD_STORE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "cachefilesd/api/record.h"

#define LAYOUT_TOKEN_TEXT (2 * STORE_TOKEN_SIZE + 1)
#define LAYOUT_TRASH_TEXT 24

struct layout {
	int pieces, tasks, incoming, trash; /* directories, owned; -1 = none */
	int format; /* holds the lock */
	uint64_t boot[2]; /* this boot of the machine */
	uint64_t next_trash; /* atomic */
};

/* layout_open - make or open pieces/ in @dirfd. @reason (256 bytes) explains a failure: -EBUSY
 * another daemon has it, -ENOTSUP a newer version made it. */
int layout_open(struct layout *l, int dirfd, char *reason);
/* layout_open_shared - for reading only, whoever uses it: makes nothing, locks nothing */
int layout_open_shared(struct layout *l, int dirfd, char *reason);
void layout_close(struct layout *l);

void layout_token_text(const uint8_t token[STORE_TOKEN_SIZE], char out[LAYOUT_TOKEN_TEXT]);
int layout_token_parse(const char *text, uint8_t token[STORE_TOKEN_SIZE]);

/* layout_create - incoming/<token> with a data file of r->info.length and blocks for @reserve
 * bytes, and the record @r (token and boot are filled in here: token random). Descriptors are the
 * caller's: data read-write and a second one read-only, record read-write. Nothing is left behind
 * on failure. */
int layout_create(struct layout *l, struct record *r, uint64_t reserve, int *data, int *read_only,
	int *record);
/* layout_attach - open an existing partial the same way. The record is read into @r. -EBADMSG when
 * it does not verify or belongs to another token. */
int layout_attach(struct layout *l, const uint8_t token[STORE_TOKEN_SIZE], struct record *r,
	int *data, int *read_only, int *record);
/* layout_open_record - a read-only descriptor of a partial's record, for the client */
int layout_open_record(struct layout *l, const uint8_t token[STORE_TOKEN_SIZE]);
/* layout_is_this_boot - was the piece table written since the machine started? If not, entries may
 * have reached the disk before their data. */
bool layout_is_this_boot(const struct layout *l, const struct record *r);
/* layout_recheck - read every present piece of a partial and clear the entries whose crc32 does not
 * match; then mark the record as of this boot. @n_cleared counts. */
int layout_recheck(struct layout *l, struct record *r, int data, int record, uint32_t *n_cleared);

/* layout_commit - make incoming/<token> the task r->info.id: data read-only, no writer left, record
 * complete and durable, renamed. -ETXTBSY: somebody has the data open for writing. -EBADMSG: the
 * data file has another size than the record says. @punch: give back blocks that were reserved and
 * not written. @bytes: what the task occupies then. */
int layout_commit(
	struct layout *l, struct record *r, int record, bool punch, bool verity, uint64_t *bytes);
/* layout_open_task - read-only descriptors of a complete task; @record may be NULL */
int layout_open_task(struct layout *l, const char *id, int *data, int *record);
/* layout_rewrite - change the header of a complete task's record: it is read into @r, @change alters
 * it, it is written and synced. One at a time for the same task is the caller's care. */
int layout_rewrite(struct layout *l, const char *id, struct record *r,
	void (*change)(void *arg, struct record *r), void *arg);
/* layout_used - remember the time of use of a task across restarts (access time of its data) */
void layout_used(struct layout *l, const char *id, uint64_t used_ns);

/* layout_trash_* - move out of the way; @name gets the entry in trash/. @mark is its first letter:
 * 'c' is deleted by the one who moved it, others by layout_empty_trash(). */
int layout_trash_task(struct layout *l, const char *id, char mark, char name[LAYOUT_TRASH_TEXT]);
int layout_trash_partial(struct layout *l, const uint8_t token[STORE_TOKEN_SIZE], char mark,
	char name[LAYOUT_TRASH_TEXT]);
/* layout_sync_task - make the removal of a task durable */
int layout_sync_task(struct layout *l, const char *id);
/* layout_destroy - delete trash/@name. *freed: bytes the file system gets back; *is_shared: some of
 * it was shared with other files (reflink, hard link) and comes back only with them. */
int layout_destroy(struct layout *l, const char *name, uint64_t *freed, bool *is_shared);
/* layout_private_bytes - what removing <dir>/data and meta would free (dry run) */
uint64_t layout_private_bytes(struct layout *l, const char *id);
/* layout_empty_trash - @all: also entries marked 'c' (start-up). Returns the number deleted. */
unsigned layout_empty_trash(struct layout *l, bool all);

/* What the walk at start-up found. */
struct layout_entry {
	bool is_partial;
	const char *name; /* the directory: id or token */
	int error; /* 0, or why it cannot be used (-EBADMSG …) */
	const struct record *r; /* when error is 0 */
	uint64_t bytes, used_ns;
	uint32_t n_present;
};
/* layout_walk - @fn for every task and partial, one at a time, though not always on the same thread and in no
 * order; unknown names are reported with error -EINVAL. A negative
 * result of @fn ends the walk and is returned. */
int layout_walk(struct layout *l, int (*fn)(void *arg, const struct layout_entry *e), void *arg);

/* layout_is_there - is the directory of a task or partial still in its place? */
bool layout_is_there(struct layout *l, bool is_partial, const char *name);

/* pieces/clock */
uint64_t layout_read_clock(struct layout *l);
int layout_write_clock(struct layout *l, uint64_t wall_ns);

#endif
