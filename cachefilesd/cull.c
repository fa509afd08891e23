// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/cull.h"

#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"

#define MS 1000000ull
#define S  (1000 * MS)

/* A batch ends here even if more is missing: then the free space is read again and whoever waits
 * for the thread is served. */
#define BATCH_MAX   256
#define REST_FACTOR 250
#define BACKOFF_MIN (1 * S)
#define BACKOFF_MAX (60 * S)
#define REST_MAX    (600 * S)
/* After a release: when enough was released; this much later when only something was. */
#define SOON_MIN    (100 * MS)
#define SOON_MAX    (2 * S)
#define SOON_FACTOR 10
#define SOON_EXTRA  (1 * S)

const char *culler_phase_name(enum culler_phase p)
{
	static const char *const names[] = {"idle", "scanning", "culling", "resting"};

	return (size_t)p < ARRAY_SIZE(names) ? names[p] : "?";
}

const char *culler_trouble_name(enum culler_trouble t)
{
	static const char *const names[CULLER_N_TROUBLES] = {"none", "all-busy", "nothing-cullable",
		"too-narrow", "not-freeing", "refused", "starved", "cache-dead"};

	return (size_t)t < ARRAY_SIZE(names) ? names[t] : "?";
}

void cull_init(struct cull *c, struct cull_source *const *sources, size_t n_sources)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < n_sources && i < CULL_MAX_SOURCES; i++)
		c->sources[c->n_sources++] = sources[i];
	c->phase = CULLER_IDLE;
	c->resume_bytes = c->resume_files = CULLER_RESUME_IGNORE;
	c->backoff_ns = BACKOFF_MIN;
}

static void move(struct cull *c, enum culler_phase to)
{
	if (c->phase != to)
		log_debug("cull: %s → %s", culler_phase_name(c->phase), culler_phase_name(to));
	c->phase = to;
}

static void begin_pass(struct cull *c, uint64_t now_ns)
{
	for (size_t i = 0; i < c->n_sources; i++)
		c->sources[i]->ops->begin(c->sources[i]);
	c->pass = (struct cull_pass){0};
	c->pass_started_ns = now_ns;
	c->n_released = c->released_bytes = 0;
	c->is_woken = false;
	move(c, CULLER_SCANNING);
}

static void end_run(struct cull *c)
{
	for (size_t i = 0; i < c->n_sources; i++)
		c->sources[i]->ops->end(c->sources[i]);
	c->backoff_ns = BACKOFF_MIN;
	move(c, CULLER_IDLE);
}

static uint64_t clamp(uint64_t v, uint64_t min, uint64_t max)
{
	return v < min ? min : v > max ? max : v;
}

/* Everything was offered and it is not enough: wait for things to change. After a pass that
 * brought something the next one comes soon, else after a back-off that also keeps the time spent
 * in vain below 0.4 % (of the 1 % that waiting may cost). */
static void rest(struct cull *c, uint64_t now_ns)
{
	uint64_t cost = now_ns - c->pass_started_ns, pause;

	for (size_t i = 0; i < c->n_sources; i++)
		c->sources[i]->ops->end(c->sources[i]);
	if (c->pass.n_freed) {
		c->backoff_ns = BACKOFF_MIN;
		pause = BACKOFF_MIN;
	} else {
		pause = clamp(cost * REST_FACTOR, c->backoff_ns, REST_MAX);
		c->backoff_ns = clamp(c->backoff_ns * 2, BACKOFF_MIN, BACKOFF_MAX);
	}
	c->rest_until_ns = now_ns + pause;
	c->hurry_ns = now_ns + clamp(cost * SOON_FACTOR, SOON_MIN, SOON_MAX);
	c->n_released = c->released_bytes = 0;
	c->is_woken = false;
	move(c, CULLER_RESTING);
}

static bool enough_released(const struct cull *c)
{
	return (c->resume_files > 0 && c->n_released >= (uint64_t)c->resume_files) ||
	       (c->resume_bytes > 0 && c->released_bytes >= (uint64_t)c->resume_bytes);
}

/* Is the rest over? Sets *wait_ns when not. */
static bool is_rested(
	struct cull *c, const struct cull_need *need, uint64_t now_ns, uint64_t *wait_ns)
{
	uint64_t until = c->rest_until_ns;

	c->n_released += need->n_released;
	c->released_bytes += need->released_bytes;
	c->is_woken |= need->wake;
	/* One released object is reason enough, since a full cache makes no new ones and so releases
	 * no more (cachefiles.md §3 row 1); many are reason to hurry. */
	if (enough_released(c) && c->hurry_ns < until)
		until = c->hurry_ns;
	else if ((c->n_released || c->is_woken) && c->hurry_ns + SOON_EXTRA < until)
		until = c->hurry_ns + SOON_EXTRA;
	if (now_ns >= until)
		return true;
	*wait_ns = until - now_ns;
	return false;
}

static void record(struct cull *c, const struct cull_source *s, const struct cull_need *need,
	uint64_t wall_ns, uint64_t used_ns, uint64_t bytes, enum cull_outcome outcome,
	const char *label)
{
	struct cull_record *r = &c->records[c->n_records++ % CULL_N_RECORDS];

	r->at_ns = wall_ns;
	r->used_ns = used_ns;
	r->bytes = bytes;
	r->source = s->ops->name;
	r->reason = need->reason ? need->reason : "limits";
	r->outcome = outcome;
	memcpy(r->label, label, strnlen(label, sizeof(r->label) - 1) + 1);
	r->label[sizeof(r->label) - 1] = '\0';
}

static void count(struct cull_pass *p, enum cull_outcome outcome, uint64_t bytes)
{
	switch (outcome) {
	case CULL_FREED:
		p->n_freed++;
		p->freed_bytes += bytes;
		break;
	case CULL_BUSY:
		p->n_busy++;
		break;
	case CULL_GONE:
		p->n_gone++;
		break;
	case CULL_SHARED:
		p->n_shared++;
		break;
	case CULL_NEWER:
		p->n_newer++;
		break;
	case CULL_FAILED:
		p->n_failed++;
		break;
	}
}

/* The source with the oldest candidate; NULL with *is_working when one does not know yet. */
static struct cull_source *oldest(
	struct cull *c, const struct cull_need *need, uint64_t *used_ns, bool *is_working)
{
	struct cull_source *best = NULL;

	*is_working = false;
	for (size_t i = 0; i < c->n_sources; i++) {
		struct cull_source *s = c->sources[i];
		uint64_t used;

		if (need->only && need->only != s)
			continue;
		switch (s->ops->oldest(s, &used)) {
		case CULL_OFFER_READY:
			if (!best || used < *used_ns) {
				best = s;
				*used_ns = used;
			}
			break;
		case CULL_OFFER_WORKING:
			*is_working = true;
			break;
		case CULL_OFFER_NONE:
			break;
		}
	}
	/* what goes first in any case need not wait for the others to be known */
	if (*is_working && !(best && *used_ns == 0))
		return NULL;
	return best;
}

/* One candidate. Returns false when there is none (or none old enough). */
static bool cull_one(struct cull *c, const struct cull_need *need, uint64_t wall_ns,
	bool *is_working, bool *is_freed, uint64_t *bytes)
{
	uint64_t used_ns = 0;
	struct cull_source *s = oldest(c, need, &used_ns, is_working);
	enum cull_outcome outcome;
	char label[CULL_LABEL];

	label[0] = '\0';
	*is_freed = false;
	*bytes = 0;
	if (!s || (need->older_than_ns && used_ns >= need->older_than_ns))
		return false;
	outcome = s->ops->recheck(s);
	if (outcome == CULL_FREED) {
		outcome = s->ops->remove(s, bytes, label, sizeof(label));
		*is_freed = outcome == CULL_FREED;
		if (outcome == CULL_FREED || outcome == CULL_SHARED) {
			record(c, s, need, wall_ns, used_ns, *bytes, outcome, label);
			c->last_freed_ns = wall_ns;
		}
	}
	c->pass.n_tried++;
	count(&c->pass, outcome, *bytes);
	count(&c->total, outcome, *bytes);
	return true;
}

static enum cull_verdict batch(
	struct cull *c, const struct cull_need *need, uint64_t now_ns, uint64_t wall_ns)
{
	uint64_t freed_bytes = 0, n_freed = 0;
	bool is_working;

	for (unsigned i = 0; i < BATCH_MAX; i++) {
		uint64_t bytes;
		bool is_freed;

		if (!cull_one(c, need, wall_ns, &is_working, &is_freed, &bytes)) {
			if (is_working) {
				move(c, CULLER_SCANNING);
				return n_freed ? CULL_BATCH : CULL_AGAIN;
			}
			if (n_freed)
				return CULL_BATCH; /* maybe it was enough */
			rest(c, now_ns);
			return CULL_AGAIN;
		}
		move(c, CULLER_CULLING);
		freed_bytes += bytes;
		n_freed += is_freed;
		if (n_freed && freed_bytes >= need->deficit_bytes && n_freed >= need->deficit_files)
			break;
	}
	return n_freed ? CULL_BATCH : CULL_AGAIN;
}

enum cull_verdict cull_step(struct cull *c, const struct cull_need *need, uint64_t now_ns,
	uint64_t wall_ns, uint64_t *wait_ns)
{
	*wait_ns = UINT64_MAX;
	if (!need->is_wanted) {
		if (c->phase != CULLER_IDLE)
			end_run(c);
		return CULL_WAIT;
	}
	switch (c->phase) {
	case CULLER_IDLE:
		c->n_runs++;
		begin_pass(c, now_ns);
		return CULL_AGAIN;
	case CULLER_RESTING:
		if (!is_rested(c, need, now_ns, wait_ns))
			return CULL_WAIT;
		begin_pass(c, now_ns);
		return CULL_AGAIN;
	case CULLER_SCANNING:
	case CULLER_CULLING:
		return batch(c, need, now_ns, wall_ns);
	}
	return CULL_WAIT;
}

enum culler_trouble cull_trouble(const struct cull *c)
{
	if (c->phase != CULLER_RESTING || c->pass.n_freed)
		return CULLER_TROUBLE_NONE;
	if (c->pass.n_failed > c->pass.n_busy)
		return CULLER_TROUBLE_REFUSED;
	return c->pass.n_busy ? CULLER_TROUBLE_ALL_BUSY : CULLER_TROUBLE_NOTHING_CULLABLE;
}
