/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sched.h — dfdaemon as a client of scheduler.v2.Scheduler: who holds a task, who should.
 *
 * The same calls whoever answers: the embedded scheduler of some peer (the owner of the task by
 * rendezvous hashing over live peers, own address included) or Dragonfly's. Which one is this
 * room's business (sched.c picks the channel by task id); the journeys see plain structs.
 * Everything is asynchronous; results arrive from the loop. Statuses are gRPC's (rpc.h); messages
 * are sentences fit for a user.
 */
#ifndef P2P_SCHED_H
#define P2P_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "p2p/ring.h"
#include "p2p/task_id.h"

struct sched;
struct sched_call;

/* A task as the scheduler tells it (and as import describes it). Strings are borrowed. */
struct sched_task {
	const char *id, *tag, *application; /* tag, application NULL = absent */
	uint64_t replicas_wanted, replicas_persistent, replicas_all;
	uint32_t piece_length, n_pieces;
	uint64_t length;
	const char *state; /* "Pending" "Uploading" "Succeeded" "Failed" */
	uint64_t ttl_ns;
	int64_t created_ns, updated_ns; /* since the Epoch */
	/* the inventory's extension; zero / false when the scheduler is Dragonfly's */
	bool has_fingerprint;
	uint8_t fingerprint[16];
	uint64_t generation; /* import time + random; greater = newer */
	uint32_t importer_uid;
	/* in answers: nanoseconds from now until it expires, UINT64_MAX = never. The same moment on
	 * every host whatever its clock; use it rather than created_ns + ttl_ns. */
	uint64_t expires_in_ns;
	const char *trace; /* of an import: passed on as META_TRACE; NULL or "" = none */
};

struct channels;
struct loop;
struct scheduler;

struct sched_config {
	struct loop *loop;
	struct channels *channels;
	const char *host_id; /* copied */
	/* who answers: the embedded schedulers of the peers that this one knows … */
	struct scheduler *embedded; /* NULL: Dragonfly's */
	/* … or Dragonfly's, which sched_set_schedulers() names, by consistent hashing of the task id */
	enum ring_kind ring;
};

/* sched_new - 0 or -errno */
int sched_new(struct sched **out, const struct sched_config *cfg);
/* sched_free - calls and streams in flight: no callback any more. Returns NULL. */
struct sched *sched_free(struct sched *s);
/* sched_set_schedulers - Dragonfly's list changed; running streams go on with theirs. Until the first
 * one, calls wait for it (5 s after the start). */
int sched_set_schedulers(struct sched *s, const struct ring_node *v, size_t n);
/* sched_new_generation - for an import that begins now: greater than any generation that this peer
 * has seen */
uint64_t sched_new_generation(struct sched *s);

/* What is here: told at start for every copy, and at every change. Only the embedded scheduler
 * listens (inventory); with Dragonfly's these do nothing. */
enum sched_local_state { SCHED_LOCAL_IMPORTING, SCHED_LOCAL_FETCHING, SCHED_LOCAL_COMPLETE };
struct sched_local {
	const char *id, *peer_id, *tag,
		*application; /* copied; peer_id: of the import or download */
	uint64_t generation, length, replicas_wanted;
	uint32_t piece_length, n_pieces, importer_uid;
	bool has_fingerprint;
	uint8_t fingerprint[16];
	uint64_t expires_in_ns; /* from now; UINT64_MAX = never */
	uint64_t created_ns; /* since the Epoch */
	enum sched_local_state state;
	bool persistent; /* pinned as a counted replica */
	bool is_kept; /* the pin was asked for on this host: not to be taken off as surplus */
};
/* sched_local_put - new or changed; 0, -EINVAL or -ENOMEM */
int sched_local_put(struct sched *s, const struct sched_local *l);
void sched_local_remove(struct sched *s, const char *id); /* no copy here any more */

struct sched_parent {
	char peer_id[PEER_ID_SIZE], host_id[HOST_ID_SIZE];
	struct sockaddr_storage grpc; /* where SyncPersistentCachePieces is served */
	bool is_holder; /* state Succeeded */
	bool is_ours; /* our kind: understands busy, early announcement, reuse */
	uint64_t max_tx_bandwidth; /* bits per second, 0 = unknown */
};

/* on_* are called exactly once with the final outcome, from the loop. */
typedef void (*sched_task_fn)(void *arg, int status, const char *message,
	const struct sched_task *t); /* @t NULL unless OK and the call returns a task */

/* upload_started: registers the import before commit. ALREADY_EXISTS with @t = the existing task
 * when it is complete somewhere: its fingerprint says whether it is the same content. Same content:
 * commit and sched_local_put() make this one more copy of it, no finished/failed call; the later of
 * the two expiries holds. Other content: @message says who imported it and when; do not commit.
 * FAILED_PRECONDITION: the id was deleted after this import began.
 * @t needs id, replicas_wanted, piece_length, n_pieces, length, expires_in_ns, generation,
 * fingerprint, importer_uid, tag and application; other fields are ignored. */
struct sched_call *sched_upload_started(struct sched *s, const struct sched_task *t,
	const char *peer_id, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_upload_finished(struct sched *s, const char *task_id, const char *peer_id,
	const char *trace, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_upload_failed(struct sched *s, const char *task_id, const char *peer_id,
	const char *description, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_stat_task(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_delete_task(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg);
/* sched_set_expiry - change the ttl of a task, counted from now (UINT64_MAX: never); all holders
 * follow. UNIMPLEMENTED with Dragonfly's scheduler. */
struct sched_call *sched_set_expiry(struct sched *s, const char *task_id, uint64_t in_ns,
	uint64_t timeout_ns, sched_task_fn fn, void *arg);
/* sched_delete_host - this host leaves all of Dragonfly's schedulers (the embedded one:
 * scheduler_leave). @fn hears the first one's answer, sched_is_told() when all have answered. */
struct sched_call *sched_delete_host(
	struct sched *s, uint64_t timeout_ns, sched_task_fn fn, void *arg);
/* sched_is_told - nothing that goes to all schedulers is on its way */
bool sched_is_told(const struct sched *s);
/* sched_call_cancel - fn is not called any more */
void sched_call_cancel(struct sched_call *c);

/* Who has copies, as the owner of the task knows it. */
struct sched_holder {
	char host_id[HOST_ID_SIZE], peer_id[PEER_ID_SIZE];
	struct sockaddr_storage addr; /* family AF_UNSPEC when not known */
	bool persistent, is_complete, is_local;
};
typedef void (*sched_holders_fn)(void *arg, int status, const char *message,
	const struct sched_holder *h, size_t n); /* borrowed during the call */
/* sched_holders - UNIMPLEMENTED with Dragonfly's scheduler */
struct sched_call *sched_holders(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_holders_fn fn, void *arg);
/* What the peers schedule, themselves included: the tasks of the cluster. None with Dragonfly's. */
struct sched_peer {
	char host_id[HOST_ID_SIZE];
	struct sockaddr_storage addr;
};
/* sched_peers - ours first; malloc'd. 0 and *out NULL: none. -ENOMEM */
int sched_peers(const struct sched *s, struct sched_peer **out, size_t *n);
struct sched_page { /* the receiver's */
	struct sched_task *tasks;
	size_t n;
	bool is_last;
	char last[TASK_ID_SIZE]; /* ask for what comes behind it */
	void *message;
};
struct sched_page *sched_page_free(struct sched_page *p); /* returns NULL */
typedef void (*sched_page_fn)(
	void *arg, int status, const char *message, struct sched_page *page); /* NULL unless OK */
/* sched_list - a page of what @p schedules, behind the id @after ("": the first one). Tasks of which
 * we know another owner are left out: that one tells them. */
struct sched_call *sched_list(struct sched *s, const struct sched_peer *p, const char *after,
	uint64_t timeout_ns, sched_page_fn fn, void *arg);
/* sched_owner - who schedules @task_id: a host id, or the address of Dragonfly's scheduler */
void sched_owner(const struct sched *s, const char *task_id, char out[HOST_ID_SIZE]);

/* sched_announce_host - @host (packed scheduler.v2.AnnounceHostRequest) to every scheduler; used by
 * announce.c. Failures are logged here, rate-limited. */
void sched_announce_host(struct sched *s, const void *request, size_t n);
/* sched_on_schedulers - @fn after a peer or scheduler appeared (it has not heard of us) */
void sched_on_schedulers(struct sched *s, void (*fn)(void *arg), void *arg);

/* One download's announce stream: register → parents (again and again: the last list wins). When
 * the scheduler dies, the stream registers again with the next one by itself. */
struct sched_stream;
struct sched_stream_ops {
	/* parents of one (generation, fingerprint) only; n 0 = the task is empty (size 0) */
	void (*on_parents)(void *arg, const struct sched_parent *p, size_t n);
	/* the stream is over: after finished/failed (OK), or by an error. Last callback. */
	void (*on_end)(void *arg, int status, const char *message);
};
struct sched_register {
	const char *task_id, *peer_id, *tag, *application, *output_path;
	const char *trace; /* as in struct sched_task */
	bool persistent;
	uint32_t piece_length, n_pieces, concurrent_pieces;
	/* of pieces that are here already; parents have the same content. Embedded scheduler only. */
	bool has_fingerprint;
	uint8_t fingerprint[16];
	uint64_t generation;
};
struct sched_stream *sched_stream_open(struct sched *s, const struct sched_register *r,
	const struct sched_stream_ops *ops, void *arg); /* NULL: out of memory */
void sched_stream_started(struct sched_stream *st);
void sched_stream_piece(struct sched_stream *st, uint32_t number, uint64_t offset, uint32_t length,
	uint32_t crc32, const char *parent_id, uint64_t cost_ns);
void sched_stream_piece_failed(
	struct sched_stream *st, uint32_t number, const char *parent_id, bool temporary);
void sched_stream_reschedule(struct sched_stream *st, const char *description);
void sched_stream_finished(struct sched_stream *st); /* on_end follows */
void sched_stream_failed(struct sched_stream *st, const char *why); /* on_end follows */
void sched_stream_close(struct sched_stream *st); /* at once, no more callbacks */

#endif
