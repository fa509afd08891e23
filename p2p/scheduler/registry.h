/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry.h — what an embedded scheduler knows: hosts, tasks, the copies of tasks on hosts, and
 * tombstones. Soft state, bounded. Pure: no I/O, no clock (times are loop nanoseconds given by the
 * caller; *_wall_ns since the Epoch, to be shown only).
 *
 * A task has one valid content: the version (generation, fingerprint). Copies with the same
 * fingerprint are the same content, whatever their generation. Of two complete contents the one
 * of the greater generation is valid (equal ones: the greater fingerprint, so that all peers agree).
 */
#ifndef P2P_SCHEDULER_REGISTRY_H
#define P2P_SCHEDULER_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/heap.h"
#include "common/list.h"
#include "common/map.h"
#include "p2p/task_id.h"

#define REG_HOSTS_MAX 1024
#define REG_NEVER     UINT64_MAX

struct reg_version {
	uint64_t generation; /* 0 = unknown (a foreign importer) */
	bool has_fingerprint;
	uint8_t fingerprint[16];
};

struct reg_host {
	struct map_node node;
	char *id, *hostname, *idc, *location; /* id owned; others NULL when unknown */
	struct sockaddr_storage addr; /* advertised; AF_UNSPEC = unknown */
	struct list copies; /* reg_copy.by_host */
	void *info; /* packed common.v2.Host as announced, owned, NULL before */
	size_t info_len;
	bool is_live, is_peer, is_ours; /* peer: member of our mesh; ours: of our kind */
	bool disable_shared, is_draining, has_disk;
	uint64_t disk_total, disk_free, max_tx_bandwidth;
	uint64_t incarnation; /* of a peer of our mesh, 0 = unknown */
	uint64_t lapse_ns; /* dead when nothing is heard until then; REG_NEVER: peers.c knows */
	uint64_t died_ns;
	unsigned n_fetching; /* replications under way to here */
	uint64_t promised_bytes; /* of these */
};

enum copy_state {
	COPY_UPLOADING, /* import under way */
	COPY_RECEIVED, /* registered, knows its parents */
	COPY_RUNNING, /* fetching: has some pieces */
	COPY_SUCCEEDED,
};
const char *copy_state_name(enum copy_state s); /* "Uploading", "ReceivedNormal", … */

struct reg_task;
struct reg_copy {
	struct list by_task, by_host;
	struct reg_task *task;
	struct reg_host *host;
	char *peer_id; /* owned */
	struct reg_version version;
	enum copy_state state;
	bool persistent, is_kept;
	uint32_t concurrent_pieces;
	uint64_t cost_ns, created_wall_ns, updated_wall_ns;
	void *child; /* the announce stream, NULL when there is none */
};

struct reg_avoid { /* a host that failed to make a replica of this task */
	uint64_t host_hash, until_ns;
};

struct reg_task {
	struct map_node node;
	char id[TASK_ID_SIZE];
	uint64_t hash; /* peers_hash(id) */
	struct reg_version version;
	uint64_t length, wanted;
	uint32_t piece_length, n_pieces, importer_uid;
	char *tag, *application, *importer; /* owned, NULL = absent; importer: host id */
	uint64_t expires_ns, expiry_revision, created_wall_ns, updated_wall_ns;
	struct list copies; /* reg_copy.by_task */
	size_t n_copies;
	struct heap_node expiry; /* in registry.expiries unless it never expires */
	/* repair.c */
	bool is_owned;
	struct heap_node check;
	uint64_t settle_ns; /* no replication before: claims may still come */
	uint64_t retry_ns, surplus_ns; /* after failures; surplus seen since, 0 = none */
	unsigned n_actions, n_failures;
	size_t n_missing;
	struct reg_avoid avoid[4];
};

struct reg_tombstone {
	struct map_node node;
	struct heap_node expiry;
	char id[TASK_ID_SIZE];
	uint64_t generation, expires_ns; /* deletes copies of this generation and older */
};

struct registry_ops {
	/* the copy (or task) is about to be freed; copy->child may be set */
	void (*on_copy_gone)(void *arg, struct reg_copy *c);
	void (*on_task_gone)(void *arg, struct reg_task *t);
};

struct registry {
	struct map hosts, tasks, tombstones;
	struct heap expiries, tomb_expiries;
	size_t max_tasks, n_copies;
	const struct registry_ops *ops;
	void *arg;
};

void registry_init(struct registry *r, size_t max_tasks, const struct registry_ops *ops, void *arg);
void registry_fini(struct registry *r);

struct reg_host *registry_host(const struct registry *r, const char *id); /* NULL: unknown */
/* registry_host_ensure - found or made (not live). NULL: out of memory or REG_HOSTS_MAX. */
struct reg_host *registry_host_ensure(struct registry *r, const char *id);
/* registry_host_purge - forget its copies (those with a stream too) */
void registry_host_purge(struct registry *r, struct reg_host *h);
void registry_host_free(struct registry *r, struct reg_host *h);

struct reg_task *registry_task(const struct registry *r, const char *id);
/* registry_task_new - @id valid and unknown. NULL: out of memory or max_tasks. Strings copied. */
struct reg_task *registry_task_new(struct registry *r, const char *id, const char *tag,
	const char *application, const char *importer);
void registry_task_free(struct registry *r, struct reg_task *t);
int registry_task_set_expiry(struct registry *r, struct reg_task *t, uint64_t expires_ns);

struct reg_copy *registry_copy(const struct reg_task *t, const struct reg_host *h);
struct reg_copy *registry_copy_by_peer(const struct reg_task *t, const char *peer_id);
/* registry_copy_put - the copy of @t on @h, made or with another peer id. NULL: out of memory. */
struct reg_copy *registry_copy_put(
	struct registry *r, struct reg_task *t, struct reg_host *h, const char *peer_id);
void registry_copy_free(struct registry *r, struct reg_copy *c);

/* A copy that others can rely on: complete, of the valid version, on a live host. */
bool copy_counts(const struct reg_copy *c);
/* registry_count - complete copies on live hosts, and those of them that are persistent */
void registry_count(const struct reg_task *t, uint64_t *all, uint64_t *persistent);
/* registry_state - "Succeeded", "Uploading", "Pending" (only fetchers) or "Failed" (no copy lives) */
const char *registry_state(const struct reg_task *t);

/* registry_version_same - certainly (both fingerprints) or presumably (one unknown: generations
 * equal or unknown) the same content */
bool registry_version_same(const struct reg_version *a, const struct reg_version *b);
bool registry_version_newer(const struct reg_version *a, const struct reg_version *b);

/* Tombstones; NULL: none. _put keeps the greater generation and the later expiry; 0, -ENOMEM, or
 * -ENOSPC. It does not touch the task. */
struct reg_tombstone *registry_tombstone(const struct registry *r, const char *id);
int registry_tombstone_put(
	struct registry *r, const char *id, uint64_t generation, uint64_t expires_ns);
/* registry_covered - was a copy of @generation deleted? (unknown generations are not) */
bool registry_covered(const struct registry *r, const char *id, uint64_t generation);

/* registry_expire - drop tasks and tombstones whose time is over */
void registry_expire(struct registry *r, uint64_t now);
uint64_t registry_next(const struct registry *r);

/* iteration; the element may be freed, so fetch the next one first */
struct reg_task *registry_task_next(const struct registry *r, const struct reg_task *after);
/* registry_page - the first @cap tasks that are owned here and come behind @after ("": all do), in
 * the order of their ids. Returns how many. */
size_t registry_page(const struct registry *r, const char *after, struct reg_task **v, size_t cap);
struct reg_host *registry_host_next(const struct registry *r, const struct reg_host *after);
struct reg_tombstone *registry_tombstone_next(
	const struct registry *r, const struct reg_tombstone *after);

#endif
