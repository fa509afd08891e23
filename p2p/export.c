/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 *  OUTPUT ─▶ OPENING ─▶ STREAMING ─▶ PLACING ─▶ NAMING ─▶ OVER
 *  (broker)  (task or fetch)  (events)   (bytes)   (broker)
 *
 * The output is opened first: a directory that may not be written fails before a byte is fetched.
 * The call may go at any moment (export_ended); the struct goes when what it has in flight is back.
 */
#include "p2p/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/num.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "p2p/api/convert.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/blocklist.h"
#include "p2p/broker/client.h"
#include "p2p/fetch.h"
#include "p2p/foreign.h"
#include "p2p/histogram.h"
#include "p2p/labels.h"
#include "p2p/local.h"
#include "p2p/manager.h"
#include "p2p/piece.h"
#include "p2p/place.h"
#include "p2p/tasks.h"

#define QUEUE_BYTES (256u << 10) /* of events without content */
/* Content is read and sent in chunks: one is on its way while the next is read. Twice this is what a
 * reader that stands still holds. */
#define CHUNK_BYTES (512u << 10)
#define SECOND      UINT64_C(1000000000)
#define STALLED_NS                                                                                 \
	(10 * SECOND) /* while others wait for the memory that a reader's content takes */

struct exports {
	struct exports_config c;
	struct list all, waiters; /* waiters: for room in content_bytes */
	unsigned n_running;
	struct labels labels;
	size_t content_bytes;
	struct loop_op stalls; /* a timer, while somebody waits */
	struct exports_stats stats;
	struct histogram durations;
	bool is_closing;
};

enum export_state { OUTPUT, OPENING, STREAMING, PLACING, NAMING, PINNING, OVER };

struct export
{
	struct exports *es;
	struct list link, waiter;
	enum export_state state;
	unsigned label;
	char trace[API_TRACE_SIZE];
	struct rpc_call *call; /* NULL when it has gone */
	char id[TASK_ID_SIZE], peer_id[PEER_ID_SIZE];
	bool persistent, need_content, force_link, overwrite, has_digest;
	char *tag, *application, *path; /* owned */
	enum digest_algorithm algorithm;
	char digest[DIGEST_TEXT];
	uint64_t began;
	uid_t uid; /* of the caller; root's for a peer */
	int out_fd; /* owned; -1 none */
	struct broker_call *broker_call;
	struct broker_output *output;
	struct task_open open;
	bool is_opening;
	struct fetch_join join;
	bool is_joined, is_whole; /* whole: complete and durable here */
	struct task *task;
	struct task_watch watch;
	bool is_watching;
	uint64_t *sent; /* bit map */
	uint64_t *local; /* pieces that were here before; NULL: all */
	uint32_t n_sent, next;
	uint64_t bytes_local;
	struct loop_op read;
	uint8_t *chunk; /* being read into */
	size_t chunk_len;
	uint64_t content_pos, content_left; /* of the piece being sent */
	size_t message_len; /* of that piece's event */
	/* of content_bytes: read or queued; and gone from the queue, but perhaps not to the socket */
	size_t charged, charged_before;
	uint64_t moved_ns; /* when the reader took something last */
	bool is_stalled; /* it took nothing for too long */
	struct place *place;
	enum place_how how;
	bool want_link, is_linked;
	struct local_change *pin;
};

static void stream(struct export *e);
static void settle(struct export *e);
static void open_output(struct export *e);

/* ---- ending -------------------------------------------------------------------------------- */

static bool is_full(const struct exports *es, size_t n)
{
	return es->content_bytes && es->content_bytes + n > es->c.content_bytes;
}

static bool is_anyone(uid_t uid)
{
	return uid != 0 && uid != geteuid();
}

/* has_room - in all, and half of it for one user */
static bool has_room(const struct export *e, size_t n)
{
	const struct exports *es = e->es;
	size_t used = 0;

	if (is_full(es, n))
		return false;
	if (!is_anyone(e->uid))
		return true;
	list_for_each (it, &es->all) {
		const struct export *other = list_entry(it, struct export, link);

		if (other->uid == e->uid)
			used += other->charged + other->charged_before;
	}
	return !used || used + n <= es->c.content_bytes / 2;
}

static struct export *next_waiter(const struct exports *es)
{
	list_for_each (it, &es->waiters) {
		struct export *e = list_entry(it, struct export, waiter);

		if (has_room(e, CHUNK_BYTES))
			return e;
	}
	return NULL;
}

static void discharge(struct exports *es, size_t n)
{
	struct export *e;

	es->content_bytes -= n;
	while (n && (e = next_waiter(es))) {
		list_del(&e->waiter);
		stream(e);
	}
}

/* drained - the queue is empty. Is all sent, no chunk is left; else those that were queued the last
 * time are gone, because rpc frames only when all that it framed before is sent. */
static void drained(struct export *e)
{
	size_t n = e->charged_before;

	e->charged_before = e->charged;
	e->charged = 0;
	if (rpc_call_is_sent(e->call)) {
		n += e->charged_before;
		e->charged_before = 0;
	}
	if (n)
		e->moved_ns = loop_now(e->es->c.loop);
	discharge(e->es, n);
}

static void release(struct export *e)
{
	if (e->is_opening)
		task_open_cancel(&e->open);
	e->is_opening = false;
	if (e->is_joined)
		fetch_leave(&e->join);
	e->is_joined = false;
	if (e->broker_call)
		broker_call_cancel(e->broker_call);
	e->broker_call = NULL;
	if (e->output)
		e->output = broker_output_abort(e->output);
	if (e->is_watching)
		task_unwatch(&e->watch);
	e->is_watching = false;
	if (e->place)
		place_cancel(e->place);
	if (e->pin) {
		local_change_forget(e->pin);
		e->pin = NULL;
	}
	list_del(&e->waiter);
}

static void settle(struct export *e)
{
	if (e->call || e->place || loop_op_is_active(&e->read) || e->state != OVER)
		return;
	list_del(&e->link);
	e->es->n_running--;
	task_unref(e->task);
	foreign_close(e->es->c.foreign, e->uid, e->out_fd);
	free(e->chunk);
	discharge(e->es, e->charged + e->charged_before);
	free(e->sent);
	free(e->local);
	free(e->tag);
	free(e->application);
	free(e->path);
	free(e);
}

static void end(struct export *e, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void end(struct export *e, int status, const char *fmt, ...)
{
	struct exports *es = e->es;
	char text[STATUS_TEXT];
	uint64_t ms = (loop_now(es->c.loop) - e->began) / (SECOND / 1000);
	const char *how = e->is_linked ? "hardlink" : place_how_name(e->how);
	va_list ap;

	if (e->state == OVER)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	release(e);
	e->state = OVER;
	labels_end(&es->labels, e->label, status != RPC_OK);
	if (status == RPC_OK) {
		es->stats.n_done++;
		es->stats.bytes += e->task ? e->task->length : 0;
		es->stats.bytes_local += e->bytes_local;
		histogram_add(&es->durations, e->task ? e->task->length : 0, ms);
		es->stats.n_linked += e->is_linked;
		es->stats.n_reflinked += e->how == PLACE_REFLINK;
		es->stats.n_copied += e->how == PLACE_COPY;
		log_info("export: done id=%s bytes=%" PRIu64 " ms=%" PRIu64 " how=%s%s%s", e->id,
			e->task ? e->task->length : 0, ms, how, *e->trace ? " trace=" : "",
			e->trace);
	} else {
		es->stats.n_failed++;
		log_info("export: failed id=%s status=%s ms=%" PRIu64 " why=\"%s\"%s%s", e->id,
			rpc_status_name(status), ms, text, *e->trace ? " trace=" : "", e->trace);
	}
	if (!e->call) {
		settle(e);
		return;
	}
	if (status == RPC_OK && (e->is_linked || e->how != PLACE_NOTHING))
		rpc_call_trailer(e->call, META_PLACED, how);
	if (e->is_stalled)
		rpc_call_abort(e->call, status, text);
	else
		rpc_call_finish(e->call, status, "%s", text);
	/* export_ended() settles */
}

/* ---- readers that stand still -------------------------------------------------------------- */

/* helps - does somebody wait for memory that @e holds? */
static bool helps(const struct export *e)
{
	if (is_full(e->es, CHUNK_BYTES))
		return true;
	list_for_each (it, &e->es->waiters)
		if (list_entry(it, struct export, waiter)->uid == e->uid)
			return true;
	return false;
}

static void on_stalls(struct loop_op *op, int res)
{
	struct exports *es = container_of(op, struct exports, stalls);
	uint64_t now = loop_now(es->c.loop);
	size_t wanted = 0;

	if (es->is_closing || list_empty(&es->waiters))
		return;
	list_for_each (it, &es->waiters)
		wanted += CHUNK_BYTES;
	list_for_each_safe (it, &es->all) {
		struct export *e = list_entry(it, struct export, link);
		size_t held = e->charged + e->charged_before;

		if (!wanted)
			break;
		if (e->state != STREAMING || !e->call || !held || rpc_call_is_sent(e->call) ||
			now < e->moved_ns + STALLED_NS || !helps(e))
			continue;
		wanted -= held < wanted ? held : wanted;
		e->is_stalled = true;
		end(e, RPC_DEADLINE_EXCEEDED,
			"the reader took nothing for %llu s while others waited for the memory",
			(unsigned long long)(STALLED_NS / SECOND));
	}
	loop_timer(es->c.loop, &es->stalls, now + SECOND);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static void on_pinned(void *arg, const struct outcome *why)
{
	struct export *e = arg;

	e->pin = NULL;
	end(e, why->status, "%s", why->text);
}

static void finished(struct export *e)
{
	if (!e->persistent) {
		end(e, RPC_OK, "%s", "");
		return;
	}
	e->state = PINNING;
	e->pin = local_pin(e->es->c.local, e->id, true, on_pinned, e);
	if (!e->pin)
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void on_named(void *arg, int status, const char *message)
{
	struct export *e = arg;

	e->broker_call = NULL;
	if (status == RPC_OK)
		finished(e);
	else
		end(e, status, "%s", message);
}

static void on_linked(void *arg, int status, const char *message)
{
	struct export *e = arg;

	e->broker_call = NULL;
	if (status == RPC_OK) {
		e->is_linked = true;
		finished(e);
	} else if (e->force_link || status == RPC_ALREADY_EXISTS ||
		   status == RPC_PERMISSION_DENIED) {
		end(e, status, "%s", message);
	} else { /* another file system, most likely */
		e->want_link = false;
		open_output(e);
	}
}

static void on_placed(void *arg, const struct outcome *why, enum place_how how)
{
	struct export *e = arg;
	struct broker_output *o = e->output;

	e->place = NULL;
	if (e->state == OVER) {
		settle(e);
		return;
	}
	if (why->status != RPC_OK) {
		end(e, why->status, "%s", why->text);
		return;
	}
	e->how = how;
	e->state = NAMING;
	if (e->want_link) {
		e->broker_call = broker_link(e->es->c.broker, rpc_call_peer(e->call)->fd,
			e->task->read_fd, e->path, e->overwrite, 0, on_linked, e);
	} else if (o) {
		e->output = NULL;
		e->broker_call = broker_output_place(o, 0, on_named, e);
	} else {
		finished(e);
		return;
	}
	if (!e->broker_call)
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void place(struct export *e)
{
	struct place_want w = {
		.from = e->task->read_fd,
		.to = e->out_fd,
		.length = e->task->length,
		.uid = e->uid,
		.has_digest = e->has_digest,
		.algorithm = e->algorithm,
	};

	e->state = PLACING;
	snprintf(w.digest, sizeof(w.digest), "%s", e->digest);
	e->place = place_start(e->es->c.foreign, &w, on_placed, e);
	if (!e->place)
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

/* ---- events -------------------------------------------------------------------------------- */

static int send_started(struct export *e)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskResponse m =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Dfdaemon__V2__DownloadPersistentCacheTaskStartedResponse s =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE__INIT;
	_cleanup_buf_ struct buf b = {0};

	s.has_content_length = true;
	s.content_length = e->task->length;
	m.host_id = (char *)e->es->c.host_id;
	m.task_id = e->id;
	m.peer_id = e->peer_id;
	m.response_case =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE;
	m.download_persistent_cache_task_started_response = &s;
	if (pbc_pack(&m.base, &b) < 0)
		return -ENOMEM;
	return rpc_call_send(e->call, b.data, b.len);
}

static size_t varint(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	do {
		out[n++] = (uint8_t)(v | (v > 127 ? 0x80 : 0));
		v >>= 7;
	} while (v);
	return n;
}

static void add_field(struct buf *b, unsigned number, uint64_t len)
{
	uint8_t v[20];
	size_t n = varint(v, number << 3 | 2);

	n += varint(v + n, len);
	buf_add(b, v, n);
}

/* piece_event - DownloadPersistentCacheTaskResponse around piece @number. With content: all but the
 * content, which is the last field of the innermost message, and so the end of the whole. */
static uint8_t *piece_event(struct export *e, uint32_t number, bool with_content, size_t *len)
{
	struct task *t = e->task;
	Common__V2__Piece p = COMMON__V2__PIECE__INIT;
	Google__Protobuf__Duration cost = GOOGLE__PROTOBUF__DURATION__INIT;
	Google__Protobuf__Timestamp created = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	_cleanup_buf_ struct buf piece = {0};
	struct buf out = {0};
	char digest[32];
	uint32_t size = task_piece_size(t, number);
	uint64_t piece_len, wall = local_wall_ns();
	uint8_t head[20];
	size_t head_len;

	snprintf(digest, sizeof(digest), "crc32:%" PRIu32, task_crc32(t, number));
	p.has_number = true;
	p.number = number;
	p.has_offset = true;
	p.offset = piece_offset(number, t->piece_length);
	p.has_length = true;
	p.length = size;
	p.digest = digest;
	p.has_traffic_type = true;
	p.traffic_type = !e->local || e->local[number / 64] >> (number % 64) & 1
				 ? COMMON__V2__TRAFFIC_TYPE__LOCAL_PEER
				 : COMMON__V2__TRAFFIC_TYPE__REMOTE_PEER;
	if (p.traffic_type == COMMON__V2__TRAFFIC_TYPE__REMOTE_PEER)
		p.parent_id = (char *)task_parent(t, number);
	p.cost = &cost;
	created.seconds = (int64_t)(wall / SECOND);
	created.nanos = (int32_t)(wall % SECOND);
	p.created_at = &created;
	if (pbc_pack(&p.base, &piece) < 0)
		return NULL;
	if (with_content)
		add_field(&piece, 6, size);
	piece_len = piece.len + (with_content ? size : 0);
	head_len = varint(head, 1 << 3 | 2);
	head_len += varint(head + head_len, piece_len);

	add_field(&out, 1, strlen(e->es->c.host_id));
	buf_adds(&out, e->es->c.host_id);
	add_field(&out, 2, strlen(e->id));
	buf_adds(&out, e->id);
	add_field(&out, 3, strlen(e->peer_id));
	buf_adds(&out, e->peer_id);
	add_field(&out, 5, head_len + piece_len);
	buf_add(&out, head, head_len);
	buf_add(&out, piece.data, piece.len);
	*len = out.len;
	if (!buf_ok(&out) || !buf_ok(&piece)) {
		buf_fini(&out);
		return NULL;
	}
	return out.data;
}

static int read_chunk(void *arg)
{
	struct export *e = arg;
	ssize_t got = fd_pread_full(e->task->read_fd, e->chunk, e->chunk_len, e->content_pos);

	if (got < 0)
		return (int)got;
	return (size_t)got == e->chunk_len ? 0 : -ENODATA;
}

/* send_chunk - what was read; false: it is over */
static bool send_chunk(struct export *e)
{
	uint8_t *p = e->chunk;

	e->chunk = NULL;
	e->content_pos += e->chunk_len;
	e->content_left -= e->chunk_len;
	if (rpc_call_send_part(e->call, p, e->chunk_len, e->message_len) == 0)
		return true;
	end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
	return false;
}

static void on_chunk(struct loop_op *op, int res)
{
	struct export *e = container_of(op, struct export, read);

	if (e->state == OVER) {
		settle(e);
	} else if (res < 0) {
		end(e, status_from_errno(-res),
			"the content at byte %" PRIu64 " cannot be read: %s", e->content_pos,
			strerror(-res));
	} else if (send_chunk(e)) {
		stream(e);
	}
}

/* is there room in memory for the content of one more chunk? Else: in the queue for it. */
static bool charge(struct export *e, size_t n)
{
	struct exports *es = e->es;

	if (!has_room(e, n)) {
		if (!list_is_linked(&e->waiter))
			list_push(&es->waiters, &e->waiter);
		if (!loop_op_is_active(&es->stalls))
			loop_timer(es->c.loop, &es->stalls, loop_now(es->c.loop) + SECOND);
		return false;
	}
	es->content_bytes += n;
	e->charged += n;
	e->moved_ns = loop_now(es->c.loop);
	return true;
}

/* next_chunk - of the piece being sent; true: it is queued. From the page cache at once, else read by
 * the pool, and on_chunk() goes on. */
static bool next_chunk(struct export *e)
{
	struct iovec iov;

	e->chunk_len = e->content_left < CHUNK_BYTES ? (size_t)e->content_left : CHUNK_BYTES;
	if (!charge(e, e->chunk_len))
		return false;
	e->chunk = rpc_call_block(e->call, e->chunk_len);
	if (!e->chunk) {
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return false;
	}
	iov = (struct iovec){e->chunk, e->chunk_len};
	if (preadv2(e->task->read_fd, &iov, 1, (off_t)e->content_pos, RWF_NOWAIT) ==
		(ssize_t)e->chunk_len)
		return send_chunk(e);
	loop_work(e->es->c.loop, &e->read, read_chunk, e);
	return false;
}

/* the next piece that is here and was not sent, in number order from the last one; n_pieces: none */
static uint32_t next_piece(struct export *e)
{
	struct task *t = e->task;

	for (uint32_t k = 0; k < t->n_pieces; k++, e->next++) {
		if (e->next >= t->n_pieces)
			e->next = 0;
		if (task_has_piece(t, e->next) && !(e->sent[e->next / 64] >> (e->next % 64) & 1))
			return e->next;
	}
	return t->n_pieces;
}

/* next_event - of a piece that is here and was not told yet; false: there is none, or no memory */
static bool next_event(struct export *e)
{
	uint32_t number = next_piece(e);
	size_t len;
	uint8_t *m;
	int r;

	if (number >= e->task->n_pieces)
		return false;
	m = piece_event(e, number, e->need_content, &len);
	e->sent[number / 64] |= 1ull << (number % 64);
	e->n_sent++;
	if (m && e->need_content) {
		e->content_pos = piece_offset(number, e->task->piece_length);
		e->content_left = task_piece_size(e->task, number);
		e->message_len = len + e->content_left;
		r = rpc_call_send_part(e->call, m, len, e->message_len);
	} else {
		r = m ? rpc_call_send_owned(e->call, m, len) : -ENOMEM;
	}
	if (r < 0)
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
	return r == 0;
}

/* stream - send what can be sent; when all was and the whole is here, go on */
static void stream(struct export *e)
{
	if (e->state != STREAMING || !e->call || loop_op_is_active(&e->read))
		return;
	if (!rpc_call_queued(e->call))
		drained(e);
	if (list_is_linked(&e->waiter))
		return;
	while (e->content_left || e->n_sent < e->task->n_present) {
		if (rpc_call_queued(e->call) > QUEUE_BYTES)
			return; /* export_drained() comes back */
		if (!(e->content_left ? next_chunk(e) : next_event(e)))
			break;
	}
	if (e->state != STREAMING || e->content_left || !e->is_whole ||
		e->n_sent < e->task->n_pieces)
		return;
	if (e->need_content && rpc_call_queued(e->call))
		return; /* the last content is on its way */
	place(e);
}

/* ---- the task ------------------------------------------------------------------------------ */

static void on_piece(struct task_watch *w, struct task *t, uint32_t number)
{
	stream(container_of(w, struct export, watch));
}

static void on_phase(struct task_watch *w, struct task *t)
{
	/* the fetch tells how it ended through the join; a task that was complete when this export
	 * began is read to its end even when it is deleted meanwhile */
}

static bool begin_stream(struct export *e, struct task *t)
{
	size_t words = ((size_t)t->n_pieces + 63) / 64;

	e->task = t;
	e->sent = calloc(words + 1, sizeof(*e->sent));
	if (!e->sent ||
		(t->phase == TASK_FETCHING && !(e->local = calloc(words + 1, sizeof(*e->local))))) {
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return false;
	}
	for (uint32_t i = 0; e->local && i < t->n_pieces; i++) {
		if (!task_has_piece(t, i))
			continue;
		e->local[i / 64] |= 1ull << (i % 64);
		e->bytes_local += task_piece_size(t, i);
	}
	if (!e->local)
		e->bytes_local = t->length;
	e->watch = (struct task_watch){.on_piece = on_piece, .on_phase = on_phase};
	task_watch(t, &e->watch);
	e->is_watching = true;
	e->state = STREAMING;
	if (send_started(e) < 0) {
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return false;
	}
	return true;
}

static void on_fetch_task(struct fetch_join *j, struct task *t)
{
	struct export *e = container_of(j, struct export, join);

	if (begin_stream(e, task_ref(t)))
		stream(e);
}

static void on_fetch_done(struct fetch_join *j, const struct outcome *why)
{
	struct export *e = container_of(j, struct export, join);

	e->is_joined = false;
	if (why->status != RPC_OK) {
		end(e, why->status, "%s", why->text);
		return;
	}
	e->is_whole = true;
	stream(e);
}

static void join_fetch(struct export *e)
{
	struct fetch_want want = {
		.task_id = e->id,
		.persistent = e->persistent,
		.tag = e->tag,
		.application = e->application,
		.output_path = e->path,
		.trace = e->trace,
	};
	int r;

	e->join = (struct fetch_join){.on_task = on_fetch_task, .on_done = on_fetch_done};
	e->is_joined = true;
	r = fetch_join(e->es->c.fetches, &want, &e->join);
	if (r == 0)
		return;
	e->is_joined = false;
	end(e, RPC_RESOURCE_EXHAUSTED, "%s",
		r == -EBUSY ? "too many downloads at once; try again later" : "out of memory");
}

static void on_opened(struct task_open *o, struct task *t, const struct outcome *why)
{
	struct export *e = container_of(o, struct export, open);

	e->is_opening = false;
	if (t && t->phase == TASK_COMPLETE) {
		e->is_whole = true;
		if (begin_stream(e, t))
			stream(e);
		return;
	}
	if (t) {
		task_unref(t);
		join_fetch(e);
		return;
	}
	if (why->status == RPC_NOT_FOUND)
		join_fetch(e);
	else
		end(e, why->status, "%s", why->text);
}

static void open_task(struct export *e)
{
	e->state = OPENING;
	e->open.fn = on_opened;
	e->is_opening = true;
	tasks_open(e->es->c.tasks, &e->open, e->id);
}

static void on_output(void *arg, int status, const char *message, struct broker_output *o, int fd)
{
	struct export *e = arg;

	e->broker_call = NULL;
	if (status != RPC_OK) {
		end(e, status, "%s", message);
		return;
	}
	e->output = o;
	e->out_fd = fd;
	if (e->task)
		place(e);
	else
		open_task(e);
}

static void open_output(struct export *e)
{
	e->broker_call = broker_open_output(e->es->c.broker, rpc_call_peer(e->call)->fd, e->path,
		e->overwrite, 0, on_output, e);
	if (!e->broker_call)
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
}

/* ---- the call ------------------------------------------------------------------------------ */

static bool take_request(
	struct export *e, const Dfdaemon__V2__DownloadPersistentCacheTaskRequest *m)
{
	char reason[NUM_REASON];

	if (!m->task_id || !task_id_is_valid(m->task_id)) {
		end(e, RPC_INVALID_ARGUMENT,
			"the task id is not valid: 1 to 64 of letters, digits, '.', '_', '-'");
		return false;
	}
	snprintf(e->id, sizeof(e->id), "%s", m->task_id);
	e->persistent = m->persistent;
	e->need_content = m->need_piece_content;
	e->force_link = m->force_hard_link;
	e->overwrite = m->overwrite;
	e->tag = m->tag ? strdup(m->tag) : NULL;
	e->application = m->application ? strdup(m->application) : NULL;
	e->path = m->output_path && *m->output_path ? strdup(m->output_path) : NULL;
	if ((m->tag && !e->tag) || (m->application && !e->application) ||
		(m->output_path && *m->output_path && !e->path)) {
		end(e, RPC_RESOURCE_EXHAUSTED, "out of memory");
		return false;
	}
	if (m->digest && *m->digest) {
		e->has_digest = true;
		if (digest_parse(m->digest, &e->algorithm, e->digest, reason) < 0) {
			end(e, RPC_INVALID_ARGUMENT, "invalid digest(%.200s): %s", m->digest,
				reason);
			return false;
		}
	}
	return true;
}

/* where does the caller want it? False: refused, or the broker was asked and goes on. */
static bool take_output(struct export *e, bool may_output)
{
	const char *index = rpc_call_metadata(e->call, META_OUTPUT_FD);
	char reason[NUM_REASON];
	uint64_t n;
	int flags;

	if (!may_output && (e->path || e->need_content || index)) {
		end(e, RPC_PERMISSION_DENIED,
			"a request over the network may not name an output on this host");
		return false;
	}
	if (e->need_content) {
		free(e->path);
		e->path = NULL;
		return true;
	}
	if (index && e->force_link) {
		end(e, RPC_INVALID_ARGUMENT,
			"a hard link is made at a path; it cannot be made of a passed descriptor");
		return false;
	}
	if (index && !foreign_is_welcome(e->es->c.foreign, e->uid)) {
		end(e, RPC_RESOURCE_EXHAUSTED, FOREIGN_UNWELCOME);
		return false;
	}
	if (index) {
		if (num_u64(index, 0, 255, &n, reason) < 0) {
			end(e, RPC_INVALID_ARGUMENT, META_OUTPUT_FD ": %s", reason);
			return false;
		}
		e->out_fd = rpc_call_take_fd(e->call, (unsigned)n);
		flags = e->out_fd >= 0 ? fcntl(e->out_fd, F_GETFL) : -1;
		if (flags < 0 || (flags & O_PATH) || (flags & O_APPEND) ||
			(flags & O_ACCMODE) == O_RDONLY) {
			end(e, RPC_INVALID_ARGUMENT, "%s",
				e->out_fd < 0 ? "no descriptor was passed for the output"
					      : "the descriptor of the output is not open for "
						"writing");
			return false;
		}
		free(e->path); /* informational */
		e->path = NULL;
		return true;
	}
	if (!e->path) {
		if (!e->force_link)
			return true;
		end(e, RPC_INVALID_ARGUMENT, "a hard link needs an output path");
		return false;
	}
	if (*e->path != '/') {
		end(e, RPC_INVALID_ARGUMENT, "the output path %.200s is not absolute", e->path);
		return false;
	}
	if (!e->es->c.broker) {
		end(e, RPC_PERMISSION_DENIED, "paths are not served here; pass a descriptor");
		return false;
	}
	e->want_link = e->force_link || e->es->c.link_first;
	if (e->want_link)
		return true;
	open_output(e);
	return false;
}

/* in all, and half of them for one user */
static bool may_begin(const struct exports *es, const struct rpc_peer *p)
{
	unsigned n = 0;

	if (es->n_running >= es->c.max_exports)
		return false;
	if (!p->is_unix || !is_anyone(p->uid))
		return true;
	list_for_each (it, &es->all)
		n += list_entry(it, struct export, link)->uid == p->uid;
	return n < (es->c.max_exports + 1) / 2;
}

void export_request(
	struct exports *es, struct rpc_call *call, const uint8_t *p, size_t n, bool may_output)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskRequest *m;
	struct export *e;

	if (es->is_closing || !may_begin(es, rpc_call_peer(call))) {
		rpc_call_finish(call, es->is_closing ? RPC_UNAVAILABLE : RPC_RESOURCE_EXHAUSTED,
			"%s",
			es->is_closing ? "dfdaemon is stopping"
				       : "too many downloads at once; try again later");
		return;
	}
	m = pbc_unpack(&dfdaemon__v2__download_persistent_cache_task_request__descriptor, p, n);
	e = m ? calloc(1, sizeof(*e)) : NULL;
	if (!e) {
		rpc_call_finish(call, m ? RPC_RESOURCE_EXHAUSTED : RPC_INVALID_ARGUMENT, "%s",
			m ? "out of memory" : "the request cannot be decoded");
		if (m)
			protobuf_c_message_free_unpacked(&m->base, NULL);
		return;
	}
	e->es = es;
	e->call = call;
	e->out_fd = -1;
	e->uid = rpc_call_peer(call)->is_unix ? rpc_call_peer(call)->uid : 0;
	e->began = loop_now(es->c.loop);
	loop_op_init(&e->read, on_chunk);
	list_init(&e->waiter);
	list_init(&e->link);
	list_push(&es->all, &e->link);
	es->n_running++;
	api_parse_traceparent(rpc_call_metadata(call, META_TRACE), e->trace);
	e->label = labels_begin(&es->labels, m->tag, m->application);
	rpc_call_set_data(call, e);
	peer_id_make(es->c.ip, es->c.hostname, e->peer_id);
	/* what our own users may have; upstream asks no block list for a replica either */
	if (may_output && blocklist_has(manager_blocklist(es->c.manager), BLOCKLIST_DOWNLOAD,
				  m->tag, m->application))
		end(e, RPC_PERMISSION_DENIED, "download blocked by block list");
	else if (take_request(e, m) && take_output(e, may_output))
		open_task(e);
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

void export_drained(struct rpc_call *call)
{
	struct export *e = rpc_call_data(call);

	if (e)
		stream(e);
}

void export_ended(struct rpc_call *call)
{
	struct export *e = rpc_call_data(call);

	if (!e)
		return;
	e->call = NULL;
	if (e->state == OVER)
		settle(e);
	else
		end(e, RPC_CANCELLED, "the caller went away");
}

int exports_new(struct exports **out, const struct exports_config *cfg)
{
	struct exports *es = calloc(1, sizeof(*es));

	if (!es)
		return -ENOMEM;
	es->c = *cfg;
	labels_init(&es->labels);
	if (!es->c.content_bytes)
		es->c.content_bytes = 32u << 20;
	if (!es->c.max_exports)
		es->c.max_exports = 256;
	list_init(&es->all);
	list_init(&es->waiters);
	loop_op_init(&es->stalls, on_stalls);
	*out = es;
	return 0;
}

void exports_close(struct exports *es)
{
	es->is_closing = true;
	list_for_each_safe (it, &es->all)
		end(list_entry(it, struct export, link), RPC_UNAVAILABLE, "dfdaemon is stopping");
	if (loop_op_is_active(&es->stalls))
		loop_cancel(es->c.loop, &es->stalls);
}

bool exports_is_idle(const struct exports *es)
{
	return list_empty(&es->all) && !loop_op_is_active(&es->stalls);
}

struct exports *exports_free(struct exports *es)
{
	if (es)
		labels_fini(&es->labels);
	free(es);
	return NULL;
}

const struct histogram *exports_durations(const struct exports *es)
{
	return &es->durations;
}

void exports_set_link_first(struct exports *es, bool link_first)
{
	es->c.link_first = link_first;
}

const struct labels *exports_labels(const struct exports *es)
{
	return &es->labels;
}

struct exports_stats exports_get_stats(const struct exports *es)
{
	struct exports_stats s = es->stats;

	s.n_running = es->n_running;
	return s;
}
