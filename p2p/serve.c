/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/serve.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/loop.h"
#include "p2p/piece.h"
#include "p2p/tasks.h"
#include "p2p/vortex/server.h"

#define N_SAMPLES    8
#define PIECE_TIME_0 UINT64_C(100000000)

struct serve {
	struct loop *loop;
	struct tasks *tasks;
	struct serve_stats stats;
	void (*listener)(void *arg, struct task *t, uint32_t number, enum serve_event e);
	void *listener_arg;
	uint64_t share[N_SAMPLES]; /* of the last whole pieces: duration by those sent at once */
	unsigned n_samples;
	uint64_t first_at; /* when the first piece was asked for, until one is through */
};

/* one request, from find() to done() */
struct serving {
	struct serve *serve;
	struct vortex_request *rq;
	struct task_open open;
	bool is_opening, is_forwarded, is_answered;
	struct task *task;
	struct task_follow follow;
	uint32_t number;
	uint64_t began;
};

/* what may be sent of a piece of which @n_bytes are here unverified */
static uint32_t held_back(const struct serving *s, uint32_t n_bytes)
{
	uint32_t size = task_piece_size(s->task, s->number);
	uint32_t most = size > SERVE_HOLD_BACK ? size - SERVE_HOLD_BACK : 0;

	return n_bytes < most ? n_bytes : most;
}

static void on_growth(struct task_follow *f, uint32_t n_bytes)
{
	struct serving *s = container_of(f, struct serving, follow);

	vortex_grown(s->rq, held_back(s, n_bytes));
}

static void on_end(struct task_follow *f, bool whole)
{
	struct serving *s = container_of(f, struct serving, follow);

	if (whole) {
		vortex_grown(s->rq, task_piece_size(s->task, s->number));
		return;
	}
	s->serve->stats.n_forward_lost++;
	vortex_give_up(s->rq);
}

static void tell(struct serving *s, enum serve_event e)
{
	if (s->serve->listener)
		s->serve->listener(s->serve->listener_arg, s->task, s->number, e);
}

static void answer(struct serving *s)
{
	struct task *t = s->task;
	struct serve *sv = s->serve;
	struct task_arrival arrival;
	struct vortex_piece p = {
		.fd = t->read_fd,
		.offset = piece_offset(s->number, t->piece_length),
		.length = task_piece_size(t, s->number),
		.has_crc32 = true,
		.parent_id = "",
		.created_s = (int64_t)(t->created_ns / 1000000000u),
	};

	if (task_has_piece(t, s->number)) {
		p.crc32 = task_crc32(t, s->number);
	} else if (vortex_request_is_ours(s->rq) &&
		   task_follow(t, s->number, &s->follow, &arrival)) {
		s->is_forwarded = true;
		p.crc32 = arrival.crc32;
		p.is_arriving = true;
		p.available = held_back(s, arrival.n_bytes);
		p.parent_id = arrival.from;
	} else if (vortex_request_is_ours(s->rq) && t->phase == TASK_FETCHING) {
		/* it was arriving when it was announced */
		vortex_refuse(s->rq, VORTEX_E_INTERNAL, VORTEX_BUSY_MESSAGE);
		return;
	} else {
		sv->stats.n_missing++;
		vortex_refuse(s->rq, VORTEX_E_NOT_FOUND, "piece %s-%" PRIu32 " not found", t->id,
			s->number);
		return;
	}
	s->began = loop_now(sv->loop);
	if (!sv->first_at)
		sv->first_at = s->began;
	s->is_answered = vortex_reply(s->rq, &p);
	if (s->is_answered)
		tell(s, SERVE_ASKED);
}

/* a forwarded piece lasts as long as it takes to arrive: it says nothing about this parent */
static void take_sample(struct serving *s)
{
	struct serve *sv = s->serve;

	if (s->is_forwarded || !sv->stats.n_running)
		return;
	sv->share[sv->n_samples++ % N_SAMPLES] =
		(loop_now(sv->loop) - s->began) / sv->stats.n_running;
}

uint64_t serve_piece_time(const struct serve *s)
{
	unsigned n = s->n_samples < N_SAMPLES ? s->n_samples : N_SAMPLES;
	uint64_t sum = 0;

	if (!n) {
		if (s->first_at && s->stats.n_running)
			sum = (loop_now(s->loop) - s->first_at) / s->stats.n_running;
		return sum > PIECE_TIME_0 ? sum : PIECE_TIME_0;
	}
	for (unsigned i = 0; i < n; i++)
		sum += s->share[i] / n;
	return sum;
}

static void on_opened(struct task_open *o, struct task *t, const struct outcome *why)
{
	struct serving *s = container_of(o, struct serving, open);

	s->is_opening = false;
	if (t) {
		s->task = t;
		answer(s);
		return;
	}
	s->serve->stats.n_missing++;
	vortex_refuse(s->rq, why->status == RPC_NOT_FOUND ? VORTEX_E_NOT_FOUND : VORTEX_E_INTERNAL,
		"%s", why->text);
}

static void find(void *arg, struct vortex_request *rq, const char *task_id, uint32_t number)
{
	struct serve *sv = arg;
	struct serving *s;

	s = calloc(1, sizeof(*s));
	if (!s) {
		vortex_refuse(rq, VORTEX_E_INTERNAL, "out of memory");
		return;
	}
	s->serve = sv;
	s->rq = rq;
	s->number = number;
	s->follow = (struct task_follow){.on_growth = on_growth, .on_end = on_end};
	vortex_request_set_data(rq, s);
	sv->stats.n_running++;
	s->task = tasks_find(sv->tasks, task_id);
	if (s->task) {
		answer(s);
		return;
	}
	s->open.fn = on_opened;
	s->is_opening = true;
	tasks_open(sv->tasks, &s->open, task_id);
}

static void done(void *arg, struct vortex_request *rq, uint64_t sent, bool whole)
{
	struct serve *sv = arg;
	struct serving *s = vortex_request_data(rq);

	sv->stats.bytes += sent;
	sv->stats.n_pieces += whole;
	if (!s)
		return;
	if (whole)
		take_sample(s);
	sv->stats.n_running--;
	sv->stats.n_forwarded += s->is_forwarded && whole;
	if (s->is_opening)
		task_open_cancel(&s->open);
	task_unfollow(&s->follow);
	if (s->is_answered)
		tell(s, whole ? SERVE_SENT : SERVE_BROKE);
	task_unref(s->task);
	free(s);
}

const struct vortex_source_ops serve_ops = {.find = find, .done = done};

int serve_new(struct serve **out, struct loop *l, struct tasks *tasks)
{
	struct serve *sv = calloc(1, sizeof(*sv));

	if (!sv)
		return -ENOMEM;
	sv->loop = l;
	sv->tasks = tasks;
	*out = sv;
	return 0;
}

void serve_listen(struct serve *s,
	void (*fn)(void *arg, struct task *t, uint32_t number, enum serve_event e), void *arg)
{
	s->listener = fn;
	s->listener_arg = arg;
}

bool serve_is_idle(const struct serve *s)
{
	return !s->stats.n_running;
}

struct serve *serve_free(struct serve *s)
{
	free(s);
	return NULL;
}

struct serve_stats serve_get_stats(const struct serve *s)
{
	return s->stats;
}
