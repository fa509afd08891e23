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
};

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
 * (its fingerprint says whether it is the same content). */
struct sched_call *sched_upload_started(struct sched *s, const struct sched_task *t,
	const char *peer_id, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_upload_finished(struct sched *s, const char *task_id, const char *peer_id,
	uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_upload_failed(struct sched *s, const char *task_id, const char *peer_id,
	const char *description, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_stat_task(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg);
struct sched_call *sched_delete_task(
	struct sched *s, const char *task_id, uint64_t timeout_ns, sched_task_fn fn, void *arg);
/* sched_call_cancel - fn is not called any more */
void sched_call_cancel(struct sched_call *c);

/* One download's announce stream: register → parents (again and again: the last list wins). */
struct sched_stream;
struct sched_stream_ops {
	/* parents of one (generation, fingerprint) only; n 0 = the task is empty (size 0) */
	void (*on_parents)(void *arg, const struct sched_parent *p, size_t n);
	/* the stream is over: after finished/failed (OK), or by an error. Last callback. */
	void (*on_end)(void *arg, int status, const char *message);
};
struct sched_register {
	const char *task_id, *peer_id, *tag, *application, *output_path;
	bool persistent;
	uint32_t piece_length, n_pieces, concurrent_pieces;
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
