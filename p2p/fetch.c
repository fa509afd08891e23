/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 *  STAT ─▶ CREATE ─▶ (CHECKING) ─▶ RUNNING ─▶ COMMITTING ─▶ DONE
 *    │        │ exists already ─▶ OPENING ─────▶ DONE
 *    └────────┴───────┴───────────┴──▶ FAILED
 *
 * CHECKING: a part of the task was in the store, left by an earlier fetch. Its pieces are read and
 * compared with their crc32, and hashed for the fingerprint; what does not match is fetched again.
 * What a fetch that fails has, stays in the store for the next one, unless its content is in doubt,
 * it was deleted, or those who wanted it left.
 *
 * DONE and FAILED are told to everybody who joined, the id is free for a new fetch at once, and the
 * struct stays until its last operation has come back (is_over).
 *
 * A parent is a slot of parents.c with a SyncPersistentCachePieces stream and its running gets. It is
 * dropped when it fails us or when the scheduler's list drops it: nothing more is asked, and the
 * slot is free when its stream and gets have ended. Without a useful parent the scheduler is asked
 * again, with a growing pause, until the progress deadline says that it is enough.
 */
#include "p2p/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cachefilesd/api/record.h"
#include "cachefilesd/api/store.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "p2p/api/convert.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"
#include "p2p/channels.h"
#include "p2p/local.h"
#include "p2p/parents.h"
#include "p2p/piece.h"
#include "p2p/sched.h"
#include "p2p/tasks.h"
#include "p2p/vortex/client.h"
#include "p2p/writer.h"

#define SECOND         UINT64_C(1000000000)
#define MSEC           UINT64_C(1000000)
#define MAX_GETS       64
#define MAX_CUT        4
#define MAX_TRIED      16 /* parents remembered for the message of a failure */
#define HEADER_TIMEOUT (4 * SECOND) /* our own parents answer or refuse at once */
/* at least: they refuse rather than let wait, but the first packet may have been lost */
#define PATIENCE_OURS        (1500 * MSEC)
#define HEADER_TIMEOUT_OTHER (10 * SECOND) /* others queue requests */
#define RESCHEDULE_MIN       (200 * MSEC)
#define RESCHEDULE_MAX       (5 * SECOND)
#define SCHED_TIMEOUT        (15 * SECOND)
#define CHECK_BYTES          (64u << 20) /* of what was here, in one turn on the pool */
#define CHECK_PIECES         1024
_Static_assert(VORTEX_CANCELLED < FETCH_N_OUTCOMES, "every outcome is counted");
#define PIECE_LENGTH_LIMIT                                                                         \
	(1u << 30) /* of a stranger's task; our own imports make at most 64 MiB */

struct fetches {
	struct fetches_config c;
	struct map map; /* by id; running ones */
	struct list all; /* also those that are over and wait for their operations */
	unsigned n_running;
	struct fetches_stats stats;
	bool is_closing;
	uint32_t zero_length; /* zero_hash is of so many zero bytes */
	struct digest_128 zero_hash;
};

enum fetch_state { STAT, OPENING, CREATE, CHECKING, RUNNING, COMMITTING, DONE, FAILED };

struct fetch_parent {
	struct fetch *fetch;
	bool is_used, is_dropped, has_address, was_synced;
	int slot; /* in parents.c; equals the index here */
	unsigned n_gets, n_impatient, n_cut; /* n_cut: forwarded pieces that ended early */
	struct sched_parent info;
	struct sockaddr_storage vortex;
	struct rpc_request *sync;
};

struct fetch_get {
	struct fetch *fetch;
	struct vortex_get *get; /* NULL: idle, or its result is being worked on */
	bool is_used, gave_up; /* gave_up: rule C5 */
	int slot;
	uint32_t number, crc32;
	uint64_t started, seen;
	struct loop_op work; /* punching a piece of zeros */
};

struct tried {
	char who[80];
	char why[120];
};

struct fetch {
	struct fetches *fs;
	struct list link;
	struct map_node node;
	enum fetch_state state;
	bool is_over, is_awaited, is_persistent, was_pinned;
	bool is_worthless; /* nothing of it is worth keeping when it fails */
	unsigned n_joins;
	char id[TASK_ID_SIZE], peer_id[PEER_ID_SIZE];
	char *tag, *application, *output_path; /* owned, of the first who wanted it */
	char trace[API_TRACE_SIZE];
	struct list joins;
	struct outcome why;
	struct sched_call *call;
	struct sched_stream *stream;
	struct writer *writer;
	struct task *task;
	struct task_watch watch; /* sees when the task is deleted under us */
	struct task_open open;
	bool is_opening;
	struct local_change *pin;
	struct loop_op post, tick;
	/* what the scheduler said */
	uint64_t length, generation, expires_ns, created_ns, replicas_wanted;
	uint32_t piece_length, n_pieces, uid;
	bool has_fingerprint;
	uint8_t fingerprint[16];
	struct task_attrs *attrs;
	/* the transfer */
	struct parents *parents;
	struct fetch_parent *peers; /* PARENTS_MAX */
	struct fetch_get *gets; /* fs->c.concurrent_pieces */
	struct digest_128 *hashes; /* xxh3 of each piece */
	uint64_t bytes_done, progress_bytes, progress_at, began;
	struct check *check; /* while CHECKING */
	uint64_t wake_at, tick_at, reschedule_at, reschedule_pause, reopen_at;
	char scheduler_says[160]; /* why the stream ended */
	struct tried tried[MAX_TRIED];
	unsigned n_tried, n_parents_seen;
};

/* Looking at the pieces that were here. While `work` is on the pool, the rest is its own. */
struct check {
	struct fetch *fetch;
	struct loop_op work;
	int record_fd, data_fd; /* owned; borrowed from the task */
	struct record record;
	struct digest_xxh3 *xxh;
	uint8_t *buf;
	uint32_t next; /* piece to look at */
	uint32_t n_good; /* of the last turn */
	struct {
		uint32_t number, crc32;
	} good[CHECK_PIECES];
};
#define CHECK_BUFFER (256u << 10)

static void pump(struct fetch *f);
static void fetch_end(struct fetch *f, enum fetch_state state, const struct outcome *why);
static void settle(struct fetch *f);
static void start_stat(struct fetch *f);

/* ---- small things -------------------------------------------------------------------------- */

static const char *address_text(const struct sockaddr_storage *sa, char out[80])
{
	const struct sockaddr_in *v4 = (const void *)sa;
	const struct sockaddr_in6 *v6 = (const void *)sa;
	const uint8_t *a = (const void *)&v4->sin_addr;

	if (sa->ss_family == AF_INET) {
		snprintf(out, 80, "%u.%u.%u.%u:%u", a[0], a[1], a[2], a[3], ntohs(v4->sin_port));
	} else if (sa->ss_family == AF_INET6) {
		int n = snprintf(out, 80, "[");

		for (int i = 0; i < 16; i += 2)
			n += snprintf(out + n, 80 - (size_t)n, "%s%x", i ? ":" : "",
				v6->sin6_addr.s6_addr[i] << 8 | v6->sin6_addr.s6_addr[i + 1]);
		snprintf(out + n, 80 - (size_t)n, "]:%u", ntohs(v6->sin6_port));
	} else {
		snprintf(out, 80, "unknown address");
	}
	return out;
}

static socklen_t address_len(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* note_failure - for the message, should the fetch fail: the last word on each parent counts */
static void note_failure(struct fetch *f, const struct sched_parent *p, const char *why)
{
	char who[80];
	unsigned i;

	address_text(&p->grpc, who);
	for (i = 0; i < f->n_tried && strcmp(f->tried[i].who, who) != 0; i++)
		;
	if (i == MAX_TRIED)
		return;
	if (i == f->n_tried)
		f->n_tried++;
	snprintf(f->tried[i].who, sizeof(f->tried[i].who), "%s", who);
	snprintf(f->tried[i].why, sizeof(f->tried[i].why), "%s", why);
}

/* "3, 7-9 and 12 more" */
static void add_missing(struct fetch *f, struct buf *b)
{
	uint32_t v[64];
	size_t n = parents_missing(f->parents, v, ARRAY_SIZE(v)), said = 0;
	unsigned ranges = 0;

	for (size_t i = 0; i < n && ranges < 8; ranges++) {
		size_t j = i;

		while (j + 1 < n && v[j + 1] == v[j] + 1)
			j++;
		buf_addf(b, "%s%" PRIu32, ranges ? ", " : "", v[i]);
		if (j > i)
			buf_addf(b, "-%" PRIu32, v[j]);
		said += j - i + 1;
		i = j + 1;
	}
	if (parents_n_missing(f->parents) > said)
		buf_addf(b, " and %zu more", parents_n_missing(f->parents) - said);
}

static void fail_stalled(struct fetch *f, int status, const char *cause)
{
	_cleanup_buf_ struct buf b = {0};
	struct outcome why;

	buf_addf(&b, "%s; %" PRIu32 " of %" PRIu32 " pieces are missing (", cause,
		parents_n_missing(f->parents), f->n_pieces);
	add_missing(f, &b);
	buf_adds(&b, "); ");
	if (!f->n_tried)
		buf_adds(&b, "no parent was offered");
	for (unsigned i = 0; i < f->n_tried; i++)
		buf_addf(&b, "%s%s: %s", i ? ", " : "parents tried: ", f->tried[i].who,
			f->tried[i].why);
	if (*f->scheduler_says)
		buf_addf(&b, "; the scheduler says: %s", f->scheduler_says);
	outcome_set(&why, status, "task %s cannot be fetched: %s", f->id, buf_str(&b));
	f->fs->stats.n_stalled++;
	fetch_end(f, FAILED, &why);
}

static void tell_local(struct fetch *f, enum sched_local_state state)
{
	struct sched_local l = {
		.id = f->id,
		.peer_id = f->peer_id,
		.tag = attrs_tag(f->attrs),
		.application = attrs_application(f->attrs),
		.generation = f->generation,
		.length = f->length,
		.replicas_wanted = f->replicas_wanted,
		.piece_length = f->piece_length,
		.n_pieces = f->n_pieces,
		.importer_uid = f->uid,
		.has_fingerprint = f->has_fingerprint,
		.expires_in_ns = local_expires_in(f->expires_ns),
		.created_ns = f->created_ns,
		.state = state,
		.persistent = f->is_persistent,
	};

	memcpy(l.fingerprint, f->fingerprint, sizeof(l.fingerprint));
	local_told(f->fs->c.local, &l);
}

/* ---- parents ------------------------------------------------------------------------------- */

/* the slot is free when nothing of the parent runs any more */
static void parent_settle(struct fetch_parent *p)
{
	if (!p->is_used || !p->is_dropped || p->sync || p->n_gets)
		return;
	parents_remove(p->fetch->parents, p->slot);
	p->is_used = false;
}

static void parent_drop(struct fetch_parent *p, const char *why)
{
	struct fetch *f = p->fetch;
	char who[80];

	if (p->is_dropped)
		return;
	p->is_dropped = true;
	parents_disable(f->parents, p->slot);
	if (why) {
		note_failure(f, &p->info, why);
		f->fs->stats.n_parents_lost++;
		log_warning("fetch: parent lost id=%s parent=%s why=\"%s\"", f->id,
			address_text(&p->info.grpc, who), why);
		for (unsigned i = 0; i < f->fs->c.concurrent_pieces; i++)
			if (f->gets[i].is_used && f->gets[i].slot == p->slot && f->gets[i].get)
				vortex_get_cancel(f->gets[i].get);
	}
	if (p->sync)
		rpc_request_cancel(p->sync);
	parent_settle(p);
}

static void on_sync_message(struct rpc_request *r, void *arg, const uint8_t *data, size_t n)
{
	struct fetch_parent *p = arg;
	struct fetch *f = p->fetch;
	Dfdaemon__V2__SyncPersistentCachePiecesResponse *m;

	if (p->is_dropped || f->is_over)
		return;
	m = pbc_unpack(&dfdaemon__v2__sync_persistent_cache_pieces_response__descriptor, data, n);
	if (!m || m->number >= f->n_pieces ||
		m->length != piece_size(m->number, f->length, f->piece_length) ||
		m->offset != piece_offset(m->number, f->piece_length) || m->tcp_port < 0 ||
		m->tcp_port > 65535) {
		parent_drop(p, "it announced a piece that this task does not have");
	} else {
		if (!p->has_address) {
			/* The host is the one that the scheduler named, whatever the message
			 * says: a peer cannot point us at another machine. */
			in_port_t port = htons((uint16_t)m->tcp_port);

			p->vortex = p->info.grpc;
			if (m->tcp_port && p->vortex.ss_family == AF_INET6)
				((struct sockaddr_in6 *)&p->vortex)->sin6_port = port;
			else if (m->tcp_port)
				((struct sockaddr_in *)&p->vortex)->sin_port = port;
			p->has_address = true;
		}
		parents_announced(f->parents, p->slot, m->number);
	}
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
	pump(f);
}

static void on_sync_done(struct rpc_request *r, void *arg, int status, const char *message)
{
	struct fetch_parent *p = arg;
	struct fetch *f = p->fetch;
	char why[120];

	p->sync = NULL;
	p->was_synced = true;
	if (!p->is_dropped && !f->is_over && status != RPC_OK) {
		snprintf(why, sizeof(why), "its announcements ended: %.70s (%s)",
			*message ? message : "no reason given", rpc_status_name(status));
		parent_drop(p, why);
	}
	parent_settle(p);
	if (f->is_over)
		settle(f);
	else
		pump(f);
}

static int parent_sync(struct fetch_parent *p)
{
	static const struct rpc_handlers handlers = {
		.on_message = on_sync_message,
		.on_done = on_sync_done,
	};
	struct fetch *f = p->fetch;
	const struct rpc_meta meta[] = {{META_BUSY_AWARE, "1"}, {META_TRACE, f->trace}};
	Dfdaemon__V2__SyncPersistentCachePiecesRequest m =
		DFDAEMON__V2__SYNC_PERSISTENT_CACHE_PIECES_REQUEST__INIT;
	_cleanup_buf_ struct buf b = {0};
	_cleanup_free_ uint32_t *numbers = NULL;
	struct rpc_channel *ch;
	struct rpc_request *rq;

	numbers = calloc(parents_n_missing(f->parents) + 1, sizeof(*numbers));
	if (!numbers)
		return -ENOMEM;
	m.host_id = (char *)f->fs->c.host_id;
	m.task_id = f->id;
	m.interested_piece_numbers = numbers;
	m.n_interested_piece_numbers =
		parents_missing(f->parents, numbers, parents_n_missing(f->parents));
	if (pbc_pack(&m.base, &b) < 0)
		return -ENOMEM;
	ch = channels_get(f->fs->c.channels, (const struct sockaddr *)&p->info.grpc,
		address_len(&p->info.grpc));
	rq = ch ? rpc_request_start(
			  ch, METHOD_PEER_SYNC_PIECES, meta, *f->trace ? 2 : 1, 0, &handlers, p)
		: NULL;
	if (!rq)
		return -ENOMEM;
	p->sync = rq;
	if (rpc_request_send(rq, b.data, b.len) < 0)
		rpc_request_cancel(rq);
	else
		rpc_request_close_send(rq);
	return 0;
}

static void parent_add(struct fetch *f, const struct sched_parent *info)
{
	int slot = parents_add(f->parents, info->is_holder);
	struct fetch_parent *p;

	f->n_parents_seen++;
	if (slot < 0)
		return;
	p = &f->peers[slot];
	*p = (struct fetch_parent){.fetch = f, .is_used = true, .slot = slot, .info = *info};
	if (parent_sync(p) < 0)
		parent_drop(p, "out of memory");
}

static void on_parents(void *arg, const struct sched_parent *v, size_t n)
{
	struct fetch *f = arg;

	if (f->is_over || f->state != RUNNING)
		return;
	for (int i = 0; i < PARENTS_MAX; i++) {
		struct fetch_parent *p = &f->peers[i];
		bool is_listed = false;

		for (size_t k = 0; k < n && p->is_used; k++)
			is_listed |= !strcmp(v[k].peer_id, p->info.peer_id);
		if (p->is_used && !is_listed)
			parent_drop(p, NULL);
	}
	for (size_t k = 0; k < n; k++) {
		struct fetch_parent *found = NULL;

		for (int i = 0; i < PARENTS_MAX && !found; i++)
			if (f->peers[i].is_used && !strcmp(v[k].peer_id, f->peers[i].info.peer_id))
				found = &f->peers[i];
		if (!found)
			parent_add(f, &v[k]);
		else
			parents_set_holder(f->parents, found->slot, v[k].is_holder);
	}
	sched_stream_started(f->stream);
	*f->scheduler_says = 0;
	pump(f);
}

static void on_stream_end(void *arg, int status, const char *message)
{
	struct fetch *f = arg;
	struct outcome why;

	f->stream = NULL;
	if (f->is_over) {
		settle(f);
		return;
	}
	if (!f->n_tried && !f->bytes_done && !f->n_parents_seen) { /* it never had anybody */
		outcome_set(&why, status == RPC_OK ? RPC_UNAVAILABLE : status,
			"task %s cannot be fetched: %s", f->id,
			*message ? message : "the scheduler knows nobody who has it");
		fetch_end(f, FAILED, &why);
		return;
	}
	/* Parents that we have may do, and one that was lost may be back in a moment: register
	 * again after a pause, until the progress deadline. */
	snprintf(f->scheduler_says, sizeof(f->scheduler_says), "%s",
		*message ? message : rpc_status_name(status));
	log_warning("fetch: the scheduler ended the stream id=%s status=%s message=\"%s\"", f->id,
		rpc_status_name(status), message);
	f->reopen_at = loop_now(f->fs->c.loop) + f->reschedule_pause;
	f->reschedule_pause *= 2;
	if (f->reschedule_pause > RESCHEDULE_MAX)
		f->reschedule_pause = RESCHEDULE_MAX;
	pump(f);
}

static void open_stream(struct fetch *f)
{
	static const struct sched_stream_ops ops = {
		.on_parents = on_parents,
		.on_end = on_stream_end,
	};
	struct sched_register r = {
		.task_id = f->id,
		.peer_id = f->peer_id,
		.tag = f->tag,
		.application = f->application,
		.output_path = f->output_path,
		.trace = f->trace,
		.persistent = f->is_persistent,
		.piece_length = f->piece_length,
		.n_pieces = f->n_pieces,
		.concurrent_pieces = f->fs->c.concurrent_pieces,
		.has_fingerprint = f->has_fingerprint,
		.generation = f->generation,
	};

	memcpy(r.fingerprint, f->fingerprint, sizeof(r.fingerprint));
	f->stream = sched_stream_open(f->fs->c.sched, &r, &ops, f);
}

/* ---- pieces -------------------------------------------------------------------------------- */

static bool is_zeros(struct fetch *f, uint32_t size, uint32_t crc32, struct digest_128 hash)
{
	struct fetches *fs = f->fs;

	if (crc32 != digest_crc32_zeros(size))
		return false;
	if (fs->zero_length != size) {
		static const uint8_t zeros[65536];
		struct digest_xxh3 *x = digest_xxh3_new();

		if (!x)
			return false;
		digest_xxh3_reset(x);
		for (uint32_t left = size; left;) {
			uint32_t n = left < sizeof(zeros) ? left : sizeof(zeros);

			digest_xxh3_update(x, zeros, n);
			left -= n;
		}
		fs->zero_hash = digest_xxh3_final(x);
		fs->zero_length = size;
		digest_xxh3_free(x);
	}
	return hash.hi == fs->zero_hash.hi && hash.lo == fs->zero_hash.lo;
}

static void get_over(struct fetch_get *g)
{
	struct fetch_parent *p = &g->fetch->peers[g->slot];

	g->is_used = false;
	g->get = NULL;
	p->n_gets--;
	parent_settle(p);
}

static void piece_is_here(struct fetch_get *g, uint64_t duration)
{
	struct fetch *f = g->fetch;
	struct fetch_parent *p = &f->peers[g->slot];
	uint32_t number = g->number, size = piece_size(number, f->length, f->piece_length);

	parents_done(f->parents, g->slot, number, duration);
	p->n_impatient = p->n_cut = 0;
	f->bytes_done += size;
	f->fs->stats.n_pieces++;
	f->fs->stats.bytes += size;
	f->reschedule_pause = RESCHEDULE_MIN;
	writer_piece(f->writer, number, g->crc32);
	task_arrived(f->task, number, g->crc32, p->info.peer_id);
	if (f->stream)
		sched_stream_piece(f->stream, number, piece_offset(number, f->piece_length), size,
			g->crc32, p->info.peer_id, duration);
	get_over(g);
}

static int punch(void *arg)
{
	struct fetch_get *g = arg;
	struct fetch *f = g->fetch;

	return fd_punch_hole(writer_fd(f->writer), piece_offset(g->number, f->piece_length),
		piece_size(g->number, f->length, f->piece_length));
}

static void on_punched(struct loop_op *op, int res)
{
	struct fetch_get *g = container_of(op, struct fetch_get, work);
	struct fetch *f = g->fetch;

	/* a file system that cannot punch keeps the zeros */
	if (f->is_over) {
		get_over(g);
		settle(f);
		return;
	}
	piece_is_here(g, loop_now(f->fs->c.loop) - g->started);
	pump(f);
}

/* a piece whose digest is known is passed on while it arrives */
static void on_get_progress(void *arg, struct vortex_get *get)
{
	struct fetch_get *g = arg;
	struct fetch *f = g->fetch;
	uint32_t crc32;

	if (!f->is_over && vortex_get_announced(get, &crc32))
		task_arriving(f->task, g->number, crc32, vortex_get_written(get),
			f->peers[g->slot].info.peer_id);
}

static void on_get(void *arg, struct vortex_get *get, const struct vortex_result *r)
{
	struct fetch_get *g = arg;
	struct fetch *f = g->fetch;
	struct fetch_parent *p = &f->peers[g->slot];
	uint64_t now = loop_now(f->fs->c.loop);
	uint32_t number = g->number;
	struct outcome why;
	char text[120];

	g->get = NULL;
	if (f->is_over) {
		get_over(g);
		settle(f);
		return;
	}
	if (r->outcome != VORTEX_OK)
		task_arrival_lost(f->task, number);
	switch (r->outcome) {
	case VORTEX_OK:
		g->crc32 = r->crc32;
		f->fs->stats.n_undigested += !r->parent_had_digest;
		f->hashes[number] = r->xxh3;
		if (is_zeros(
			    f, piece_size(number, f->length, f->piece_length), r->crc32, r->xxh3)) {
			loop_work(f->fs->c.loop, &g->work, punch, g);
			return;
		}
		piece_is_here(g, r->duration_ns);
		break;
	case VORTEX_BUSY:
		parents_busy(f->parents, g->slot, number, now);
		get_over(g);
		break;
	case VORTEX_CANCELLED:
		if (g->gave_up) {
			parents_busy(f->parents, g->slot, number, now);
			/* impatience says little once; again and again it says stopped */
			if (++p->n_impatient >= 4)
				parent_drop(p, "it does not answer");
		} else {
			parents_dropped(f->parents, g->slot, number);
		}
		get_over(g);
		break;
	case VORTEX_DIGEST:
	case VORTEX_REFUSED:
		f->fs->stats.n_piece_failures[r->outcome]++;
		snprintf(text, sizeof(text), "piece %" PRIu32 ": %s%s%.50s", number,
			r->outcome == VORTEX_DIGEST ? "its content does not match its digest"
						    : "refused",
			*r->message ? ": " : "", r->message);
		note_failure(f, &p->info, text);
		log_warning("fetch: piece failed id=%s parent=%s why=\"%s\"", f->id,
			p->info.host_id, text);
		if (f->stream)
			sched_stream_piece_failed(f->stream, number, p->info.peer_id, true);
		if (parents_failed(f->parents, g->slot, number))
			parent_drop(p, text);
		get_over(g);
		break;
	case VORTEX_IO:
		outcome_set(&why, status_from_errno(r->error),
			"task %s: piece %" PRIu32 " cannot be written to the store: %s", f->id,
			number, strerror(r->error));
		parents_dropped(f->parents, g->slot, number);
		get_over(g);
		fetch_end(f, FAILED, &why);
		return;
	case VORTEX_LOST:
	case VORTEX_STALLED:
		/* It passed on what it was getting itself, and that ended: whose fault it was is seen
		 * there. Again and again without a whole piece, it is this parent's. */
		if (r->was_forwarded && ++p->n_cut < MAX_CUT) {
			parents_busy(f->parents, g->slot, number, now);
			get_over(g);
			break;
		}
		/* fall through */
	case VORTEX_UNREACHABLE:
	case VORTEX_PROTOCOL:
		f->fs->stats.n_piece_failures[r->outcome]++;
		if (r->error)
			snprintf(text, sizeof(text), "%s", strerror(r->error));
		else
			snprintf(text, sizeof(text), "%s%s%.80s", vortex_outcome_name(r->outcome),
				*r->message ? ": " : "", r->message);
		if (f->stream)
			sched_stream_piece_failed(f->stream, number, p->info.peer_id, true);
		parents_dropped(f->parents, g->slot, number);
		parent_drop(p, text);
		get_over(g);
		break;
	}
	pump(f);
}

static bool start_get(struct fetch *f, int slot, uint32_t number)
{
	struct fetch_parent *p = &f->peers[slot];
	struct fetch_get *g = f->gets;
	struct vortex_want w = {
		.addr = (const struct sockaddr *)&p->vortex,
		.addr_len = address_len(&p->vortex),
		.task_id = f->id,
		.number = number,
		.length = piece_size(number, f->length, f->piece_length),
		.offset = piece_offset(number, f->piece_length),
		.fd = writer_fd(f->writer),
		.reuse = p->info.is_ours,
		.header_timeout_ns = p->info.is_ours ? HEADER_TIMEOUT : HEADER_TIMEOUT_OTHER,
		.stall_timeout_ns = parents_stall_timeout(f->parents),
		.progress = on_get_progress,
		.class = f->is_awaited ? VORTEX_FOREGROUND : VORTEX_REPLICA,
	};

	while (g->is_used)
		g++;
	g->slot = slot;
	g->number = number;
	g->gave_up = false;
	g->seen = 0;
	g->started = loop_now(f->fs->c.loop);
	g->get = vortex_get_start(f->fs->c.pool, &w, on_get, g);
	if (!g->get) {
		parents_busy(f->parents, slot, number, g->started);
		return false;
	}
	g->is_used = true;
	p->n_gets++;
	return true;
}

/* C5: who has not answered for a while, when there is something else to do, is left alone */
static void lose_patience(struct fetch *f, uint64_t now)
{
	uint64_t patience = parents_patience(f->parents);

	for (unsigned i = 0; i < f->fs->c.concurrent_pieces; i++) {
		struct fetch_get *g = &f->gets[i];
		uint64_t own = patience, at;

		if (g->is_used && f->peers[g->slot].info.is_ours && own < PATIENCE_OURS)
			own = PATIENCE_OURS;
		at = g->started + own;
		if (!g->is_used || !g->get || g->gave_up || vortex_get_has_header(g->get))
			continue;
		if (at > now) {
			if (at < f->wake_at)
				f->wake_at = at;
		} else if (parents_other_choice(f->parents, g->slot, g->number, now)) {
			g->gave_up = true;
			vortex_get_cancel(g->get);
		} else if (now + own < f->wake_at) {
			f->wake_at = now + own;
		}
	}
}

static void note_progress(struct fetch *f, uint64_t now)
{
	uint64_t bytes = f->bytes_done;

	for (unsigned i = 0; i < f->fs->c.concurrent_pieces; i++)
		if (f->gets[i].is_used && f->gets[i].get)
			bytes += vortex_get_bytes(f->gets[i].get);
	if (bytes != f->progress_bytes || !f->progress_at) {
		f->progress_bytes = bytes;
		f->progress_at = now;
	}
}

/* no parent has anything for us: ask for others, less and less often */
static void ask_again(struct fetch *f, uint64_t now)
{
	bool any_useful = false, any_open = false;

	for (int i = 0; i < PARENTS_MAX; i++) {
		struct fetch_parent *p = &f->peers[i];

		if (!p->is_used || p->is_dropped)
			continue;
		any_useful |= parents_useful(f->parents, i);
		any_open |= p->sync != NULL;
	}
	if (!f->stream) {
		if (f->reopen_at <= now) {
			open_stream(f);
			f->reopen_at = now + RESCHEDULE_MAX; /* when there was no memory for it */
		}
		if (f->reopen_at < f->wake_at)
			f->wake_at = f->reopen_at;
		return;
	}
	if (any_useful) {
		f->reschedule_at = 0;
		return;
	}
	if (!f->reschedule_at) {
		/* parents that are connected may be about to announce */
		f->reschedule_at = now + (any_open ? RESCHEDULE_MAX : f->reschedule_pause);
	} else if (!any_open && f->reschedule_at > now + f->reschedule_pause) {
		f->reschedule_at = now + f->reschedule_pause;
	}
	if (f->reschedule_at <= now) {
		log_info("fetch: asking for other parents id=%s missing=%" PRIu32, f->id,
			parents_n_missing(f->parents));
		f->reschedule_pause *= 2;
		if (f->reschedule_pause > RESCHEDULE_MAX)
			f->reschedule_pause = RESCHEDULE_MAX;
		f->reschedule_at = now + RESCHEDULE_MAX;
		sched_stream_reschedule(f->stream, "no parent has the missing pieces");
	}
	if (f->reschedule_at < f->wake_at)
		f->wake_at = f->reschedule_at;
}

static void verify_and_commit(struct fetch *f)
{
	struct fingerprint *fp = fingerprint_new(f->length, f->piece_length);
	struct outcome why;
	uint8_t got[16];

	if (!fp) {
		outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		fetch_end(f, FAILED, &why);
		return;
	}
	for (uint32_t i = 0; i < f->n_pieces; i++)
		fingerprint_piece(fp, task_crc32(f->task, i), f->hashes[i]);
	fingerprint_final(fp, got);
	fingerprint_free(fp);
	if (f->has_fingerprint && memcmp(got, f->fingerprint, sizeof(got)) != 0) {
		outcome_set(&why, RPC_DATA_LOSS,
			"task %s: all pieces arrived and match their digests, but the whole is not "
			"what was imported; nothing was kept",
			f->id);
		log_err("fetch: wrong fingerprint id=%s", f->id);
		f->is_worthless = true;
		fetch_end(f, FAILED, &why);
		return;
	}
	f->has_fingerprint = true;
	memcpy(f->fingerprint, got, sizeof(got));
	f->state = COMMITTING;
	for (int i = 0; i < PARENTS_MAX; i++)
		if (f->peers[i].is_used)
			parent_drop(&f->peers[i], NULL);
	writer_commit(f->writer, f->id, f->fingerprint);
}

/* fair_share - of the pool's buffers: nobody starves because others were here first */
static unsigned fair_share(const struct fetches *fs)
{
	unsigned n = fs->c.max_gets ? fs->c.max_gets / fs->n_running : MAX_GETS;

	return n ? n : 1;
}

/* pump - everything that can be done now; the one place that decides */
static void pump(struct fetch *f)
{
	struct loop *l = f->fs->c.loop;
	uint64_t now = loop_now(l), wake = UINT64_MAX;
	uint32_t number;
	int slot;

	if (f->is_over || f->state != RUNNING)
		return;
	if (!parents_n_missing(f->parents)) {
		if (!parents_n_running(f->parents))
			verify_and_commit(f);
		return;
	}
	f->wake_at = now + SECOND;
	while (parents_n_running(f->parents) < fair_share(f->fs) &&
		parents_next(f->parents, now, &slot, &number, &wake) == PARENTS_ASK)
		if (!start_get(f, slot, number))
			break;
	if (wake < f->wake_at)
		f->wake_at = wake;
	lose_patience(f, now);
	note_progress(f, now);
	if (now - f->progress_at > f->fs->c.progress_ns) {
		char cause[80];

		snprintf(cause, sizeof(cause), "no byte arrived for %" PRIu64 " seconds",
			(now - f->progress_at) / SECOND);
		fail_stalled(f, RPC_UNAVAILABLE, cause);
		return;
	}
	ask_again(f, now);
	if (f->is_over)
		return;
	if (!loop_op_is_active(&f->tick)) {
		f->tick_at = f->wake_at;
		loop_timer(l, &f->tick, f->tick_at);
	} else if (f->tick_at > f->wake_at + MSEC) {
		f->tick_at = 0; /* comes back through on_tick, which pumps */
		loop_cancel(l, &f->tick);
	}
}

static void on_tick(struct loop_op *op, int res)
{
	struct fetch *f = container_of(op, struct fetch, tick);

	if (f->is_over)
		settle(f);
	else
		pump(f);
}

/* ---- the store ----------------------------------------------------------------------------- */

static void tell_task(struct fetch *f)
{
	struct list todo, *n;

	list_init(&todo);
	while ((n = list_pop(&f->joins)))
		list_push(&todo, n);
	while ((n = list_pop(&todo))) {
		struct fetch_join *j = list_entry(n, struct fetch_join, link);

		list_push(&f->joins, n);
		if (!j->was_told) {
			j->was_told = true;
			j->on_task(j, f->task);
		}
	}
}

static void on_opened(struct task_open *o, struct task *t, const struct outcome *why)
{
	struct fetch *f = container_of(o, struct fetch, open);
	struct outcome ok = {.status = RPC_OK};

	f->is_opening = false;
	if (!t) {
		fetch_end(f, FAILED, why);
		return;
	}
	if (t->phase != TASK_COMPLETE) { /* cannot be: the fetch of this id is this one */
		task_unref(t);
		outcome_set(&ok, RPC_INTERNAL, "task %s is being fetched twice", f->id);
		fetch_end(f, FAILED, &ok);
		return;
	}
	f->task = t;
	f->generation = t->generation;
	tell_task(f);
	if (!f->is_over)
		fetch_end(f, DONE, &ok);
}

/* the task came by another way since we looked */
static void open_instead(struct fetch *f)
{
	f->state = OPENING;
	f->is_opening = true;
	f->open.fn = on_opened;
	tasks_open(f->fs->c.tasks, &f->open, f->id);
}

static void on_watched_piece(struct task_watch *w, struct task *t, uint32_t number)
{
}

static void on_watched_phase(struct task_watch *w, struct task *t)
{
	struct fetch *f = container_of(w, struct fetch, watch);

	if (t->phase == TASK_OVER && !f->is_over) {
		f->is_worthless = true;
		fetch_end(f, FAILED, &t->why);
	}
}

/* ---- what was here ------------------------------------------------------------------------- */

static struct check *check_free(struct check *k)
{
	if (!k)
		return NULL;
	fd_close(k->record_fd);
	digest_xxh3_free(k->xxh);
	free(k->buf);
	free(k);
	return NULL;
}

static bool check_piece(struct check *k, uint32_t number, uint32_t want)
{
	struct fetch *f = k->fetch;
	uint64_t off = piece_offset(number, f->piece_length);
	uint32_t left = piece_size(number, f->length, f->piece_length), crc = 0;

	digest_xxh3_reset(k->xxh);
	while (left) {
		size_t n = left < CHECK_BUFFER ? left : CHECK_BUFFER;

		if (fd_pread_full(k->data_fd, k->buf, n, off) != (ssize_t)n)
			return false;
		crc = digest_crc32(crc, k->buf, n);
		digest_xxh3_update(k->xxh, k->buf, n);
		off += n;
		left -= (uint32_t)n;
	}
	f->hashes[number] = digest_xxh3_final(k->xxh);
	return crc == want;
}

static int check_work(void *arg)
{
	struct check *k = arg;
	struct fetch *f = k->fetch;
	uint64_t bytes = 0;
	int r = 0;

	k->n_good = 0;
	if (!k->next)
		r = record_read(k->record_fd, &k->record);
	if (!r && (k->record.info.n_pieces != f->n_pieces ||
			  k->record.info.piece_length != f->piece_length ||
			  k->record.info.length != f->length))
		r = -EBADMSG;
	for (; !r && k->next < f->n_pieces && bytes < CHECK_BYTES && k->n_good < CHECK_PIECES;
		k->next++) {
		struct record_piece p;

		r = record_read_pieces(k->record_fd, &k->record, k->next, 1, &p);
		if (r || !p.present)
			continue;
		bytes += f->piece_length;
		if (check_piece(k, k->next, p.crc32)) {
			k->good[k->n_good].number = k->next;
			k->good[k->n_good++].crc32 = p.crc32;
		}
	}
	return r;
}

static void run(struct fetch *f);

static void on_checked(struct loop_op *op, int res)
{
	struct check *k = container_of(op, struct check, work);
	struct fetch *f = k->fetch;

	if (f->is_over) {
		settle(f);
		return;
	}
	for (uint32_t i = 0; i < k->n_good; i++) {
		parents_have(f->parents, k->good[i].number);
		task_arrived(f->task, k->good[i].number, k->good[i].crc32, NULL);
		if (f->is_over)
			return;
	}
	if (!res && k->next < f->n_pieces) {
		loop_work(f->fs->c.loop, &k->work, check_work, k);
		return;
	}
	log_info("fetch: goes on with what was here id=%s pieces=%" PRIu32 " of=%" PRIu32, f->id,
		f->n_pieces - parents_n_missing(f->parents), f->n_pieces);
	f->check = check_free(k);
	run(f);
}

/* check_begin - false: everything is fetched */
static bool check_begin(struct fetch *f, int record_fd)
{
	struct check *k = calloc(1, sizeof(*k));

	if (!k)
		return false;
	k->fetch = f;
	k->data_fd = f->task->read_fd;
	k->record_fd = fcntl(record_fd, F_DUPFD_CLOEXEC, 0);
	k->xxh = digest_xxh3_new();
	k->buf = malloc(CHECK_BUFFER);
	if (k->record_fd < 0 || !k->xxh || !k->buf) {
		check_free(k);
		return false;
	}
	loop_op_init(&k->work, on_checked);
	f->check = k;
	f->state = CHECKING;
	loop_work(f->fs->c.loop, &k->work, check_work, k);
	return true;
}

static void run(struct fetch *f)
{
	struct outcome why;

	f->state = RUNNING;
	f->progress_at = loop_now(f->fs->c.loop);
	if (parents_n_missing(f->parents)) {
		open_stream(f);
		if (!f->stream) {
			outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
			fetch_end(f, FAILED, &why);
			return;
		}
	}
	pump(f);
}

static void begin_transfer(struct fetch *f, const struct store_reply *reply)
{
	struct fetches_config *c = &f->fs->c;
	struct parents_options po = {
		.n_pieces = f->n_pieces,
		.piece_length = f->piece_length,
		.max_running = c->concurrent_pieces,
		.seed = c->seed,
	};
	struct tasks_fetch tf = {
		.id = f->id,
		.length = f->length,
		.generation = f->generation,
		.expires_ns = f->expires_ns,
		.created_ns = f->created_ns,
		.piece_length = f->piece_length,
		.n_pieces = f->n_pieces,
		.fingerprint = f->has_fingerprint ? f->fingerprint : NULL,
		.uid = f->uid,
		.attrs = f->attrs,
		.read_fd = writer_take_read_fd(f->writer),
	};
	struct outcome why;
	int r = tasks_begin(c->tasks, &tf, &f->task);

	if (r == -EEXIST) { /* complete already: it came by another way */
		open_instead(f);
		return;
	}
	if (!po.seed && getrandom(&po.seed, sizeof(po.seed), GRND_NONBLOCK) < 0)
		po.seed = (uint64_t)(uintptr_t)f;
	f->peers = calloc(PARENTS_MAX, sizeof(*f->peers));
	f->gets = calloc(c->concurrent_pieces, sizeof(*f->gets));
	f->hashes = calloc(f->n_pieces ? f->n_pieces : 1, sizeof(*f->hashes));
	if (r < 0 || !f->peers || !f->gets || !f->hashes || parents_new(&f->parents, &po) < 0) {
		outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		fetch_end(f, FAILED, &why);
		return;
	}
	for (unsigned i = 0; i < c->concurrent_pieces; i++) {
		f->gets[i].fetch = f;
		loop_op_init(&f->gets[i].work, on_punched);
	}
	f->watch = (struct task_watch){.on_piece = on_watched_piece, .on_phase = on_watched_phase};
	task_watch(f->task, &f->watch);
	f->reschedule_pause = RESCHEDULE_MIN;
	tell_local(f, SCHED_LOCAL_FETCHING);
	tell_task(f);
	if (f->is_over)
		return;
	if (!reply->info.n_present || !check_begin(f, reply->record_fd))
		run(f);
}

static void on_create(void *arg, const struct store_reply *r)
{
	struct fetch *f = arg;
	struct outcome why;

	switch (r->status) {
	case STORE_OK:
		begin_transfer(f, r);
		return;
	case STORE_EXISTS_SAME:
		open_instead(f);
		return;
	case STORE_EXISTS_DIFFERENT:
		outcome_set(&why, RPC_ABORTED,
			"task %s is here with other content than the cluster has now; it is being "
			"replaced, try again",
			f->id);
		break;
	default:
		outcome_set(&why, status_from_store(r->status), "task %s cannot be stored here: %s",
			f->id, r->message);
	}
	fetch_end(f, FAILED, &why);
}

static void on_lost(void *arg, enum store_status status, const char *message)
{
	struct fetch *f = arg;
	struct outcome why;

	outcome_set(&why, status_from_store(status), "task %s cannot be stored here: %s", f->id,
		message);
	fetch_end(f, FAILED, &why);
}

static void on_pinned(void *arg, const struct outcome *why)
{
	struct fetch *f = arg;

	f->pin = NULL;
	if (why->status != RPC_OK)
		log_warning("fetch: the copy is not pinned id=%s why=\"%s\"", f->id, why->text);
	settle(f);
}

static void on_commit(void *arg, enum store_status status, const char *message)
{
	struct fetch *f = arg;
	struct outcome why = {.status = RPC_OK};
	uint64_t now = loop_now(f->fs->c.loop);

	if (status != STORE_OK && status != STORE_EXISTS_SAME) {
		outcome_set(&why, status_from_store(status), "task %s cannot be stored here: %s",
			f->id, message);
		fetch_end(f, FAILED, &why);
		return;
	}
	log_info("fetch: done id=%s bytes=%" PRIu64 " ms=%" PRIu64
		 " parents_failed=%u persistent=%d%s%s",
		f->id, f->length, (now - f->began) / MSEC, f->n_tried, f->is_persistent,
		*f->trace ? " trace=" : "", f->trace);
	tell_local(f, SCHED_LOCAL_COMPLETE);
	task_completed(f->task, f->fingerprint);
	if (f->stream)
		sched_stream_finished(f->stream);
	if (f->is_persistent && !f->was_pinned)
		f->pin = local_pin(f->fs->c.local, f->id, true, on_pinned, f);
	fetch_end(f, DONE, &why);
}

static bool make_attrs(struct fetch *f, const struct sched_task *t)
{
	f->attrs = calloc(1, sizeof(*f->attrs));
	if (!f->attrs || attrs_set_tag(f->attrs, t->tag) < 0 ||
		attrs_set_application(f->attrs, t->application) < 0)
		return false;
	f->attrs->replicas_wanted = t->replicas_wanted;
	f->attrs->created_ns = f->created_ns;
	snprintf(f->attrs->peer_id, sizeof(f->attrs->peer_id), "%s", f->peer_id);
	return true;
}

static void on_stat(void *arg, int status, const char *message, const struct sched_task *t)
{
	static const struct writer_ops ops = {
		.on_open = on_create,
		.on_lost = on_lost,
		.on_commit = on_commit,
	};
	struct fetch *f = arg;
	uint8_t attrs[ATTRS_ENCODED_MAX];
	struct store_create rq = {0};
	struct outcome why;

	f->call = NULL;
	if (status != RPC_OK || !t) {
		outcome_set(&why, status == RPC_OK ? RPC_INTERNAL : status, "%s",
			status == RPC_NOT_FOUND && !*message ? "no such task" : message);
		fetch_end(f, FAILED, &why);
		return;
	}
	if (!t->piece_length || t->piece_length > PIECE_LENGTH_LIMIT ||
		t->n_pieces != piece_count(t->length, t->piece_length) ||
		t->n_pieces > STORE_MAX_PIECES) {
		outcome_set(&why, RPC_DATA_LOSS,
			"the scheduler describes task %s with %" PRIu64 " bytes in %" PRIu32
			" pieces of %" PRIu32 ", which cannot be",
			f->id, t->length, t->n_pieces, t->piece_length);
		fetch_end(f, FAILED, &why);
		return;
	}
	f->length = t->length;
	f->piece_length = t->piece_length;
	f->n_pieces = t->n_pieces;
	f->generation = t->generation;
	f->uid = t->importer_uid;
	f->replicas_wanted = t->replicas_wanted;
	f->created_ns = t->created_ns > 0 ? (uint64_t)t->created_ns : 0;
	f->expires_ns = local_expires_at(t->expires_in_ns);
	f->has_fingerprint = t->has_fingerprint;
	memcpy(f->fingerprint, t->fingerprint, sizeof(f->fingerprint));
	if (!make_attrs(f, t)) {
		outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		fetch_end(f, FAILED, &why);
		return;
	}
	rq.id = f->id;
	rq.reserve_bytes = rq.length = f->length;
	rq.piece_length = f->piece_length;
	rq.expires_ns = f->expires_ns;
	rq.pin = f->was_pinned = f->is_persistent;
	rq.uid = f->uid;
	rq.generation = f->generation;
	rq.attrs = attrs;
	rq.attrs_len = attrs_encode(f->attrs, attrs);
	rq.wait_ns = f->fs->c.room_wait_ns;
	f->state = CREATE;
	f->writer = writer_new(f->fs->c.writers, &rq, f->n_pieces, &ops, f);
	if (!f->writer) {
		outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		fetch_end(f, FAILED, &why);
	}
}

static void start_stat(struct fetch *f)
{
	struct outcome why;

	f->call = sched_stat_task(f->fs->c.sched, f->id, SCHED_TIMEOUT, on_stat, f);
	if (!f->call) {
		outcome_set(&why, RPC_RESOURCE_EXHAUSTED, "out of memory");
		fetch_end(f, FAILED, &why);
	}
}

/* ---- life ---------------------------------------------------------------------------------- */

/* settle - free what is over when its last operation is back */
static void settle(struct fetch *f)
{
	bool busy = loop_op_is_active(&f->post) || loop_op_is_active(&f->tick) || f->pin ||
		    f->stream || f->is_opening || (f->check && loop_op_is_active(&f->check->work));

	if (!f->is_over)
		return;
	for (unsigned i = 0; f->gets && i < f->fs->c.concurrent_pieces; i++)
		busy |= f->gets[i].is_used;
	for (int i = 0; f->peers && i < PARENTS_MAX; i++)
		busy |= f->peers[i].is_used;
	if (busy)
		return;
	if (f->writer && f->state == FAILED && !f->is_worthless)
		writer_keep(f->writer);
	if (f->writer)
		f->writer = writer_close(f->writer);
	f->check = check_free(f->check);
	if (f->watch.on_phase)
		task_unwatch(&f->watch);
	if (f->task)
		f->task = task_unref(f->task);
	list_del(&f->link);
	parents_free(f->parents);
	free(f->peers);
	free(f->gets);
	free(f->hashes);
	free(f->attrs);
	free(f->tag);
	free(f->application);
	free(f->output_path);
	free(f);
}

static void fetch_end(struct fetch *f, enum fetch_state state, const struct outcome *why)
{
	struct list todo, *n;

	if (f->is_over)
		return;
	f->is_over = true;
	f->state = state;
	f->why = *why;
	map_remove(&f->fs->map, &f->node);
	f->fs->n_running--;
	if (state == DONE)
		f->fs->stats.n_done++;
	else
		f->fs->stats.n_failed++;
	if (f->call) {
		sched_call_cancel(f->call);
		f->call = NULL;
	}
	if (f->is_opening) {
		task_open_cancel(&f->open);
		f->is_opening = false;
	}
	if (state == FAILED) {
		log_info("fetch: failed id=%s status=%s why=\"%s\"", f->id,
			rpc_status_name(why->status), why->text);
		if (f->stream)
			sched_stream_failed(f->stream, why->text);
		if (f->task && f->task->phase != TASK_COMPLETE) {
			local_gone(f->fs->c.local, f->id);
			task_failed(f->task, why);
		}
	}
	for (unsigned i = 0; f->gets && i < f->fs->c.concurrent_pieces; i++)
		if (f->gets[i].is_used && f->gets[i].get)
			vortex_get_cancel(f->gets[i].get);
	for (int i = 0; f->peers && i < PARENTS_MAX; i++)
		if (f->peers[i].is_used)
			parent_drop(&f->peers[i], NULL);
	loop_cancel(f->fs->c.loop, &f->tick);
	list_init(&todo);
	while ((n = list_pop(&f->joins)))
		list_push(&todo, n);
	/* Nobody may free the fetch while its people are told: they may leave or join again. */
	if (!loop_op_is_active(&f->post))
		loop_post(f->fs->c.loop, &f->post, 0);
	while ((n = list_pop(&todo))) {
		struct fetch_join *j = list_entry(n, struct fetch_join, link);

		if (state == DONE && !j->was_told) { /* joined in the last moment */
			j->was_told = true;
			j->on_task(j, f->task);
			if (!j->fetch)
				continue; /* it left */
		}
		j->fetch = NULL;
		j->on_done(j, &f->why);
	}
}

/* the first turn of a new fetch, and the last one of an old */
static void on_post(struct loop_op *op, int res)
{
	struct fetch *f = container_of(op, struct fetch, post);

	if (f->is_over)
		settle(f);
	else if (f->state == STAT && !f->call)
		start_stat(f);
	else
		tell_task(f); /* somebody joined later */
}

static char *copy_text(const char *s)
{
	return s ? strdup(s) : NULL;
}

int fetch_join(struct fetches *fs, const struct fetch_want *want, struct fetch_join *j)
{
	struct map_node *n = map_find(&fs->map, want->task_id, strlen(want->task_id));
	struct fetch *f;

	list_init(&j->link);
	j->was_told = false;
	j->fetch = NULL;
	if (n) {
		f = container_of(n, struct fetch, node);
		f->is_persistent |= want->persistent;
		f->is_awaited |= !want->persistent;
		f->n_joins++;
		j->fetch = f;
		list_push(&f->joins, &j->link);
		if (f->task && !loop_op_is_active(&f->post))
			loop_post(fs->c.loop, &f->post, 0);
		return 0;
	}
	if (fs->is_closing || fs->n_running >= fs->c.max_fetches)
		return -EBUSY;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->fs = fs;
	snprintf(f->id, sizeof(f->id), "%s", want->task_id);
	peer_id_make(fs->c.ip, fs->c.hostname, f->peer_id);
	f->tag = copy_text(want->tag);
	f->application = copy_text(want->application);
	f->output_path = copy_text(want->output_path);
	api_parse_traceparent(want->trace, f->trace);
	f->is_persistent = want->persistent;
	f->is_awaited = !want->persistent;
	f->began = loop_now(fs->c.loop);
	list_init(&f->joins);
	list_init(&f->link);
	loop_op_init(&f->post, on_post);
	loop_op_init(&f->tick, on_tick);
	if (map_insert(&fs->map, &f->node, f->id, strlen(f->id)) < 0) {
		free(f->tag);
		free(f->application);
		free(f->output_path);
		free(f);
		return -ENOMEM;
	}
	list_push(&fs->all, &f->link);
	fs->n_running++;
	f->n_joins = 1;
	j->fetch = f;
	list_push(&f->joins, &j->link);
	loop_post(fs->c.loop, &f->post, 0);
	return 0;
}

void fetch_leave(struct fetch_join *j)
{
	struct fetch *f = j->fetch;
	struct outcome why;

	list_del(&j->link);
	j->fetch = NULL;
	if (!f || f->is_over || --f->n_joins)
		return;
	f->is_worthless = true; /* they changed their minds */
	outcome_set(&why, RPC_CANCELLED, "nobody waits for task %s any more", f->id);
	fetch_end(f, FAILED, &why);
}

int fetches_new(struct fetches **out, const struct fetches_config *cfg)
{
	struct fetches *fs = calloc(1, sizeof(*fs));

	if (!fs)
		return -ENOMEM;
	fs->c = *cfg;
	if (!fs->c.concurrent_pieces)
		fs->c.concurrent_pieces = 8;
	if (fs->c.concurrent_pieces > MAX_GETS)
		fs->c.concurrent_pieces = MAX_GETS;
	if (!fs->c.max_fetches)
		fs->c.max_fetches = 64;
	if (!fs->c.progress_ns)
		fs->c.progress_ns = 30 * SECOND;
	if (!fs->c.room_wait_ns)
		fs->c.room_wait_ns = 30 * SECOND;
	list_init(&fs->all);
	*out = fs;
	return 0;
}

void fetches_close(struct fetches *fs)
{
	struct outcome why;

	fs->is_closing = true;
	list_for_each_safe (it, &fs->all) {
		struct fetch *f = list_entry(it, struct fetch, link);

		outcome_set(&why, RPC_UNAVAILABLE, "dfdaemon is stopping");
		if (f->stream && f->is_over) { /* do not wait for a scheduler's last word */
			sched_stream_close(f->stream);
			f->stream = NULL;
			if (!loop_op_is_active(&f->post))
				loop_post(fs->c.loop, &f->post, 0);
		}
		fetch_end(f, FAILED, &why);
	}
}

bool fetches_is_idle(const struct fetches *fs)
{
	return list_empty(&fs->all);
}

struct fetches *fetches_free(struct fetches *fs)
{
	if (!fs)
		return NULL;
	map_fini(&fs->map);
	free(fs);
	return NULL;
}

void fetches_set_limits(
	struct fetches *fs, unsigned max_fetches, uint64_t progress_ns, uint64_t room_wait_ns)
{
	fs->c.max_fetches = max_fetches;
	fs->c.progress_ns = progress_ns;
	fs->c.room_wait_ns = room_wait_ns;
}

struct fetches_stats fetches_get_stats(const struct fetches *fs)
{
	struct fetches_stats s = fs->stats;

	s.n_running = fs->n_running;
	return s;
}
