/* SPDX-License-Identifier: GPL-2.0-or-later */
/* store.h — client of the piece store's door (DESIGN.md §4), asynchronous, on the loop.
 *
 * One session = one SOCK_SEQPACKET connection to cachefilesd. Requests are answered in any order
 * and matched by number. Descriptors in a reply belong to the callee. Leases end with the session:
 * when cachefilesd restarts, the client reconnects by itself, tells `on_event(STORE_EVENT_LOST)`
 * then `STORE_EVENT_READY`; the owner attaches again with its tokens (rw) or opens again (ro). Data
 * descriptors stay valid meanwhile: transfers need not stop.
 * Wire format: proto.h. Sizes in bytes, times in nanoseconds since the Epoch unless said.
 */
#ifndef CACHEFILESD_API_STORE_H
#define CACHEFILESD_API_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"

struct loop;
struct store_client;

#define STORE_ID_MAX                                                                               \
	64 /* bytes of a task id, printable ASCII [0-9A-Za-z._-], not starting with '.' */
#define STORE_ATTR_MAX     4096 /* opaque attributes of the p2p side */
#define STORE_TOKEN_SIZE   16
#define STORE_FPRINT_SIZE  16
#define STORE_MESSAGE_MAX  512 /* text of a reply */
#define STORE_PIECES_BATCH 512 /* pieces in one `pieces` request */
#define STORE_MAX_PIECES   (1u << 24)

/* Who holds leases and has said nothing for so long has stopped, and loses them with its session. The
 * client says something often enough by itself, as long as its loop runs. */
#define STORE_SILENT_NS 150000000000ull

enum store_status {
	STORE_OK = 0,
	STORE_EXISTS_SAME, /* commit/create: the same content is here already */
	STORE_EXISTS_DIFFERENT, /* the id is here with another fingerprint */
	STORE_BUSY_WRITER, /* commit: somebody still has the data open for writing */
	STORE_NOT_FOUND,
	STORE_NO_SPACE, /* message has wanted, available, pinned, cullable */
	STORE_DENIED,
	STORE_INVALID,
	STORE_BUSY, /* leased or pinned: cannot be removed now */
	STORE_LIMIT, /* a bound of this client (leases, requests, bytes) */
	STORE_CORRUPT, /* the record or the data does not verify */
	STORE_IO, /* an error of the file system, in the message */
	STORE_LOST, /* the session broke before the answer (made by the client) */
	STORE_TIMEOUT, /* made by the client */
};
const char *store_status_name(enum store_status s);

enum store_state { STORE_PARTIAL = 1, STORE_COMPLETE = 2, STORE_EXPIRED = 3 };

struct store_piece {
	uint32_t number;
	uint32_t crc32;
};

struct store_info {
	char id[STORE_ID_MAX + 1]; /* "" while unknown */
	enum store_state state;
	bool pinned, leased, deleted;
	uint32_t piece_length, n_pieces, n_present;
	uint64_t length, bytes_on_disk;
	uint64_t created_ns, used_ns, expires_ns; /* expires 0 = never */
	uint8_t fingerprint[STORE_FPRINT_SIZE];
	uid_t uid; /* importer, from the peer credentials or STORE_F_UID given by dfdaemon */
	uint64_t generation;
};

struct store_create {
	const char *id; /* NULL or "" when it will be known at commit */
	uint64_t reserve_bytes; /* blocks to promise: what the source occupies; 0 for a reflink */
	uint64_t length;
	uint32_t piece_length;
	uint64_t expires_ns; /* 0 = never */
	bool pin;
	uid_t uid; /* on whose behalf (only the daemon's own uid or root may differ) */
	uint64_t generation; /* import time + random; the p2p side's */
	const void *attrs;
	size_t attrs_len;
	uint64_t wait_ns; /* how long culling may take to make room; 0 = do not wait */
};

struct store_reply {
	enum store_status status;
	const char *message; /* never NULL; a sentence when status != OK */
	uint32_t lease; /* create, attach, open */
	uint8_t token[STORE_TOKEN_SIZE];
	int data_fd, record_fd; /* -1 = none; the callee owns them */
	/* create, attach: the same data opened read-only (a descriptor of its own, not a dup): what a
	 * fetch serves other peers from while it writes, and after it closed data_fd to commit (a
	 * reader does not stand in the way of F_SETLEASE(F_RDLCK)). -1 otherwise. */
	int read_fd;
	struct store_info info; /* create, attach, open, stat, commit */
	const uint8_t *attrs; /* open, attach, stat; valid during the callback */
	size_t attrs_len;
	/* list: */
	const struct store_info *entries;
	size_t n_entries;
	uint64_t cursor; /* next page; 0 = end */
	/* hello: */
	uint64_t free_bytes, total_bytes, cull_bytes, run_bytes, stop_bytes;
	/* cull: bytes freed (or that would be); the lines are in message form by ctl */
	uint64_t freed_bytes;
};

/* Embedded in the owner; in flight until fn. Cancel with store_cancel (fn gets STORE_LOST). */
struct store_op {
	void (*fn)(struct store_op *op, const struct store_reply *r);
	/* private */
	struct list link;
	uint32_t number;
	uint64_t deadline_ns;
	void *out;
	size_t out_len;
	uint8_t type;
};

enum store_event {
	STORE_EVENT_READY,
	STORE_EVENT_LOST,
	STORE_EVENT_CULLING,
	STORE_EVENT_CULLED,
	STORE_EVENT_STOPPED
};

/* store_client_new - connects when the loop runs and keeps reconnecting (back-off 50 ms..1 s) */
int store_client_new(struct store_client **out, struct loop *l, const char *socket_path,
	void (*on_event)(void *arg, enum store_event e), void *arg);
/* store_client_beat_every - say something to the store this often (STORE_SILENT_NS / 5) */
void store_client_beat_every(struct store_client *c, uint64_t ns);
/* store_client_control_only - also with a daemon whose piece store is off, which answers
 * store_control() and store_cull() alone. Call before the loop runs. */
void store_client_control_only(struct store_client *c);
/* store_client_free - ops in flight end with LOST: their callbacks, and the release of the memory,
 * come from the loop afterwards, so it must still turn. No on_event() any more. Returns NULL. */
struct store_client *store_client_free(struct store_client *c);
bool store_client_is_ready(const struct store_client *c);

/* All: @op in flight afterwards; requests made while disconnected wait for the connection, at most
 * their deadline (default 30 s; create: wait_ns + 30 s). Strings and buffers are copied. */
void store_hello(struct store_client *c, struct store_op *op);
void store_create(struct store_client *c, struct store_op *op, const struct store_create *rq);
void store_attach(
	struct store_client *c, struct store_op *op, const uint8_t token[STORE_TOKEN_SIZE]);
/* store_create - an unfinished task of the same id, uid, shape and generation that nobody has is taken
 * up: info.n_present then counts the pieces that are in its table (they are not looked at here).
 * NO_SPACE with an info: something would have to go, and the task in info has the same shape, so
 * that it may be the same content: create again with the id.
 * store_pieces - pieces whose data is written (and will be durable at commit) */
void store_pieces(struct store_client *c, struct store_op *op, uint32_t lease,
	const struct store_piece *p, size_t n);
/* store_commit - the caller made the data durable (fdatasync) and closed its writable descriptors.
 * @attrs NULL = keep those of create. On OK and EXISTS_SAME the lease is over. */
void store_commit(struct store_client *c, struct store_op *op, uint32_t lease, const char *id,
	const uint8_t fingerprint[STORE_FPRINT_SIZE], const void *attrs, size_t attrs_len);
/* store_abort - drop a writable lease and its data */
void store_abort(struct store_client *c, struct store_op *op, uint32_t lease);
/* store_open - read lease: data_fd (read-only), record_fd; the piece table is read with record.h */
void store_open(struct store_client *c, struct store_op *op, const char *id);
void store_release(struct store_client *c, struct store_op *op, uint32_t lease);
void store_stat(struct store_client *c, struct store_op *op, const char *id);
/* store_list - a page of entries from @cursor (0 = first) */
void store_list(struct store_client *c, struct store_op *op, uint64_t cursor);
void store_touch(struct store_client *c, struct store_op *op, const char *id);
void store_pin(struct store_client *c, struct store_op *op, const char *id, bool pin);
void store_extend(struct store_client *c, struct store_op *op, const char *id, uint64_t expires_ns);
void store_delete(struct store_client *c, struct store_op *op, const char *id);
void store_set_attrs(struct store_client *c, struct store_op *op, const char *id, const void *attrs,
	size_t attrs_len);
/* store_cull - dry run: what a cull down to @free_bytes free (0 = to the run limit) would remove;
 * else cull now. data_fd of the reply holds JSON lines: {"time","source","label","bytes","reason"}.
 * store_control - what cachefilesctl asks ("status", "top json" …); data_fd holds the answer. */
void store_cull(struct store_client *c, struct store_op *op, bool dry_run, uint64_t free_bytes);
void store_control(struct store_client *c, struct store_op *op, const char *words);
/* store_cancel - forget the request; fn runs later with STORE_LOST; what the server did stays done */
void store_cancel(struct store_client *c, struct store_op *op);

#endif
