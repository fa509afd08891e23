// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/culler.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/cull.h"
#include "cachefilesd/graveyard.h"
#include "cachefilesd/holder.h"
#include "cachefilesd/kernel_source.h"
#include "cachefilesd/kstats.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/num.h"
#include "common/path.h"

#define MS 1000000ull
#define S  (1000 * MS)

#define TICK_NS           S /* idle or resting: look at the free space this often */
#define LOOK_NS           (100 * MS) /* and this often during a scan */
#define PROBE_NS          (2 * S) /* is the cache alive? It never says so by itself */
#define STARVED_NS        (5 * S)
#define TROUBLE_SETTLE_NS (3 * S) /* it lasts this long before it is one, */
#define TROUBLE_GONE_NS   (15 * S) /* and is gone this long before it is over */
#define REBIND_MAX_NS     (60 * S)
#define POLICY_MIN_NS     (60 * S)
#define PINNED_S          20 /* the kernel keeps an object for 10 to 20 s after its last use */
#define BTRFS_MAGIC       0x9123683Eu
#define XFS_MAGIC         0x58465342u
#define BCACHEFS_MAGIC    0xca451a4eu
#define LAZY_LOOKS        20 /* after a sync, LAZY_PAUSE_NS apart */
#define LAZY_PAUSE_NS     5000000
#define FSCACHE_STATS     "/proc/fs/fscache/stats"

/* What the file system looks like now. */
struct view {
	bool is_bound, is_culling, is_stopped; /* culling is wanted; below stop */
	struct limits_thresholds t;
	uint64_t block_size, blocks, avail_blocks, files, avail_files;
	uint64_t n_released, released_bytes; /* since the view before */
};

/* Samples for the rate at which the file system fills. */
struct filling {
	uint64_t sampled_ns, last_avail_bytes, last_freed_bytes;
	uint64_t peak_rate; /* bytes a second, falling slowly */
};

/* One dry run at a time, on a thread of its own: it may take as long as a scan. */
struct lister {
	pthread_t thread;
	bool is_running;
	struct culler_request *rq;
	int cache_fd;
	uint64_t want_bytes; /* 0 = everything */
	struct culler_line *lines;
	size_t n_lines, cap_lines;
	size_t first; /* of the source in hand; no source needs more than what is enough alone */
	uint64_t source_bytes;
	bool has_no_memory;
};

struct culler {
	/* set before the thread starts, then its own */
	pthread_t thread;
	bool has_thread;
	struct culler_config fixed; /* the unchangeable part, strings owned by `strings` */
	char *strings[4];
	char **raw;
	struct holder *holder;
	int root_fd, wake_fd, event_fd;
	struct kcache kc;
	struct kernel_source ks;
	bool has_source;
	struct cull cull;
	struct graveyard *graveyard;
	bool is_lazy_fs; /* what is removed is free only later: with a commit, or when a worker was there */

	/* the thread's */
	struct view view;
	bool is_preparing, was_wanted, was_stopped, is_dead, is_woken;
	uint64_t looked_ns, probed_ns, planned_ns, rebind_ns, rebind_pause_ns;
	uint64_t run_freed_bytes, run_avail_bytes, run_deficit_bytes, freed_since_sync;
	uint64_t policy_ns, policy_bytes,
		policy_age_ns; /* the next look; what the last was about */
	const char *policy; /* "max-age", "max-size": a run of our own limits, or NULL */
	uint64_t n_refusals, n_refusals_seen, refusals_ns;
	bool has_refusals;
	struct filling filling;
	struct culler_request *asked; /* CULLER_REQ_FREE in progress */
	uint64_t asked_start_freed;
	uint64_t asked_ns; /* monotonic: a pass begun since that ends in a rest is all there is */
	struct lister lister;
	enum culler_trouble trouble, suspect; /* reported; seen, but maybe not for long */
	uint64_t suspect_ns;
	char rebind_reason[KCACHE_REASON];

	/* shared */
	pthread_mutex_t lock;
	struct culler_config cfg; /* the changeable part */
	struct culler_status status;
	struct list requests, done;
	unsigned events;
	atomic_bool stop;
	_Atomic uint64_t heartbeat_ns;
	bool is_starved; /* the door thread's */
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * S + (uint64_t)t.tv_nsec;
}

static void poke(int eventfd)
{
	const uint64_t one = 1;

	/* EAGAIN: it is as readable as it can be */
	while (write(eventfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void unpoke(int eventfd)
{
	uint64_t n;

	while (read(eventfd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

static void post(struct culler *c, unsigned events)
{
	pthread_mutex_lock(&c->lock);
	c->events |= events;
	pthread_mutex_unlock(&c->lock);
	poke(c->event_fd);
}

static void finish(struct culler *c, struct culler_request *rq, int status)
{
	rq->status = status;
	pthread_mutex_lock(&c->lock);
	list_push(&c->done, &rq->link);
	pthread_mutex_unlock(&c->lock);
	poke(c->event_fd);
}

/* ---- the free space ------------------------------------------------------------------------- */

static uint64_t avail_bytes(const struct culler *c)
{
	return c->view.avail_blocks * c->view.block_size;
}

static void look_at_fs(struct culler *c, const struct limits *limits)
{
	struct view *v = &c->view;
	struct statvfs fs;

	if (fstatvfs(c->root_fd, &fs) < 0) {
		LOG_LIMITED(LOG_ERR, "cull: the free space cannot be read: %s", strerror(errno));
		return;
	}
	v->block_size = fs.f_frsize ? fs.f_frsize : fs.f_bsize;
	v->blocks = fs.f_blocks;
	v->avail_blocks = fs.f_bavail;
	v->files = fs.f_files;
	v->avail_files = fs.f_ffree;
	if (!v->is_bound)
		v->t = limits_compute(limits, v->blocks, v->files);
}

static void read_refusals(struct culler *c)
{
	_cleanup_buf_ struct buf text = {0};
	struct kstats_space space;

	if (fd_read_file(AT_FDCWD, FSCACHE_STATS, 65536, &text) < 0 ||
		!kstats_parse_space(buf_str(&text), &space))
		return;
	c->n_refusals = space.n_writes_refused + space.n_creates_refused;
	if (!c->has_refusals)
		c->n_refusals_seen = c->n_refusals;
	c->has_refusals = true;
}

static void sample_filling(struct culler *c, uint64_t now)
{
	struct filling *f = &c->filling;
	uint64_t elapsed = now - f->sampled_ns, freed = c->cull.total.freed_bytes, rate;

	if (elapsed < S)
		return;
	if (f->sampled_ns && c->view.blocks) {
		/* what came = what was freed, and what the free space lost on top of it */
		uint64_t came = f->last_avail_bytes + (freed - f->last_freed_bytes);

		came = came > avail_bytes(c) ? came - avail_bytes(c) : 0;
		rate = came * 1000 / (elapsed / MS);
		f->peak_rate = rate > f->peak_rate ? rate : f->peak_rate - f->peak_rate / 16;
	}
	f->sampled_ns = now;
	f->last_avail_bytes = avail_bytes(c);
	f->last_freed_bytes = freed;
}

static void die(struct culler *c, const char *reason)
{
	if (c->is_dead)
		return;
	c->is_dead = true;
	c->view.is_bound = false;
	c->rebind_ns = clock_ns(CLOCK_MONOTONIC);
	c->rebind_pause_ns = S;
	snprintf(c->rebind_reason, sizeof(c->rebind_reason), "%s", reason);
}

static void look_at_kernel(struct culler *c, uint64_t now)
{
	struct kstate state;
	int r = kcache_read_state(&c->kc, &state);

	pthread_mutex_lock(&c->lock);
	c->status.n_state_reads++;
	pthread_mutex_unlock(&c->lock);
	if (r < 0 && r != -EINVAL) {
		die(c, "reading the device fails");
		return;
	}
	if (r == 0 && state.is_bound) {
		c->view.is_bound = true;
		c->view.is_culling = state.cull;
		c->view.t = state.thresholds;
		c->view.n_released = state.n_released;
		c->view.released_bytes = state.released_sectors * 512;
	} else if (r < 0) {
		LOG_LIMITED(LOG_ERR, "cull: the kernel's state line makes no sense");
	} else {
		die(c, "the device says that nothing is bound to it");
	}
	if (now - c->probed_ns >= PROBE_NS) {
		c->probed_ns = now;
		if (kcache_is_dead(&c->kc))
			die(c, "the kernel met an I/O error and gave the cache up");
	}
	if (c->ks.is_dead)
		die(c, "the kernel met an I/O error and gave the cache up");
}

static bool same_limits(const struct limits *a, const struct limits *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static void look(struct culler *c, const struct culler_config *cfg, uint64_t now)
{
	struct view *v = &c->view;
	bool was = v->is_culling;

	v->n_released = v->released_bytes = 0;
	if (c->has_source && !c->is_dead)
		look_at_kernel(c, now);
	look_at_fs(c, &cfg->kernel.limits);
	if (!v->is_bound) {
		v->is_culling = limits_culling(&v->t, was, v->avail_blocks, v->avail_files);
	} else if (c->fixed.is_bound_otherwise ||
		   !same_limits(&cfg->kernel.limits, &c->fixed.kernel.limits)) {
		/* reloaded, or adopted: the kernel keeps the limits of its bind, ours count on top of them */
		v->t = limits_compute(&cfg->kernel.limits, v->blocks, v->files);
		v->is_culling |= limits_culling(&v->t, was, v->avail_blocks, v->avail_files);
	}
	v->is_stopped = limits_stopped(&v->t, v->avail_blocks, v->avail_files);
	sample_filling(c, now);
	c->looked_ns = now;
}

/* ---- what is wanted ------------------------------------------------------------------------- */

/* The kernel's flag falls at run; a margin keeps the next object from raising it again. */
static uint64_t margin(uint64_t total, unsigned permille)
{
	return total / 1000 * permille;
}

static void set_deficit(struct culler *c, const struct culler_config *cfg, struct cull_need *need)
{
	const struct view *v = &c->view;
	uint64_t blocks = v->t.blocks.run + margin(v->blocks, cfg->overshoot_permille);
	uint64_t files = v->t.files.run + margin(v->files, cfg->overshoot_permille);

	blocks = blocks > v->avail_blocks ? blocks - v->avail_blocks : 0;
	files = files > v->avail_files && v->files ? files - v->avail_files : 0;
	need->deficit_bytes = blocks * v->block_size;
	need->deficit_files = files;
	if (!v->is_culling && c->was_wanted && (blocks || files) && cfg->overshoot_permille)
		need->is_wanted = true; /* on to the margin */
}

/* Sizes and ages that are ours: looked at after a fresh scan every now and then. */
static void consider_policy(struct culler *c, const struct culler_config *cfg, uint64_t now)
{
	uint64_t pause = c->ks.stats.scan_ns * 100, age = cfg->kernel_max_age_ns;

	if (cfg->kernel_max_bytes != c->policy_bytes || age != c->policy_age_ns)
		c->policy_ns = 0; /* a reload counts at once */
	c->policy_bytes = cfg->kernel_max_bytes;
	c->policy_age_ns = age;
	if (!c->has_source || (!age && !cfg->kernel_max_bytes) || now < c->policy_ns)
		return;
	if (c->policy_ns) {
		uint64_t want = age && age / 16 < POLICY_MIN_NS ? age / 16 : POLICY_MIN_NS;

		pause = pause > want ? pause : want;
	}
	c->policy_ns = now + (pause > S ? pause : S);
	if (c->cull.phase != CULLER_IDLE)
		return;
	kernel_source_refresh(&c->ks);
	c->policy = age ? "max-age" : "max-size";
}

static bool policy_need(struct culler *c, const struct culler_config *cfg, struct cull_need *need)
{
	uint64_t wall = clock_ns(CLOCK_REALTIME);

	if (!c->policy)
		return false;
	if (!strcmp(c->policy, "max-age")) {
		if (c->cull.phase == CULLER_RESTING || !cfg->kernel_max_age_ns) {
			c->policy = cfg->kernel_max_bytes ? "max-size" : NULL;
			return false;
		}
		need->older_than_ns =
			wall > cfg->kernel_max_age_ns ? wall - cfg->kernel_max_age_ns : 1;
		need->deficit_bytes = UINT64_MAX;
	} else {
		/* the size is known when the scan is over */
		bool is_known = !scan_is_running(&c->ks.scan) && c->ks.in_pass;
		uint64_t size = c->ks.stats.object_bytes, max = cfg->kernel_max_bytes;

		if (c->cull.phase == CULLER_RESTING || !max || (is_known && size <= max)) {
			c->policy = NULL;
			return false;
		}
		if (!is_known)
			c->is_preparing = true;
		if (!is_known)
			return false;
		need->deficit_bytes = size - max;
	}
	need->only = &c->ks.source;
	need->reason = c->policy;
	need->is_wanted = true;
	return true;
}

static bool asked_is_in_vain(const struct culler *c)
{
	return c->asked && c->cull.phase == CULLER_RESTING &&
	       c->cull.pass_started_ns >= c->asked_ns;
}

/* What was asked for is over when there is enough, or nothing more to take; also while the limits
 * want culling for themselves. */
static void finish_asked(struct culler *c)
{
	uint64_t avail = avail_bytes(c);
	struct culler_request *rq = c->asked;

	if (!rq || (avail < rq->bytes && !asked_is_in_vain(c)))
		return;
	c->asked = NULL;
	rq->freed_bytes = c->cull.total.freed_bytes - c->asked_start_freed;
	rq->n_objects = c->cull.total.n_freed - rq->n_objects;
	finish(c, rq, avail >= rq->bytes ? 0 : -ENOSPC);
}

static bool asked_need(struct culler *c, struct cull_need *need)
{
	if (!c->asked)
		return false;
	need->is_wanted = true;
	need->reason = "asked";
	need->deficit_bytes = c->asked->bytes - avail_bytes(c);
	need->deficit_files = 0;
	return true;
}

static struct cull_need compute_need(
	struct culler *c, const struct culler_config *cfg, uint64_t now)
{
	const struct view *v = &c->view;
	struct cull_need need = {.reason = "limits",
		.n_released = v->n_released,
		.released_bytes = v->released_bytes,
		.wake = c->is_woken};

	c->is_woken = false;
	c->view.n_released = c->view.released_bytes = 0;
	if (cfg->no_cull) {
		if (c->asked) {
			finish(c, c->asked, -EOPNOTSUPP);
			c->asked = NULL;
		}
		return need;
	}
	finish_asked(c);
	need.is_wanted = v->is_culling && (!c->is_dead || c->cull.n_sources > 1);
	set_deficit(c, cfg, &need);
	c->was_wanted = need.is_wanted;
	if (!need.is_wanted && !asked_need(c, &need)) {
		consider_policy(c, cfg, now);
		policy_need(c, cfg, &need);
	}
	/* what was freed but does not show yet is not missing */
	if (c->is_lazy_fs)
		need.deficit_bytes = need.deficit_bytes > c->freed_since_sync
					     ? need.deficit_bytes - c->freed_since_sync
					     : 0;
	return need;
}

/* btrfs gives space back when it commits, XFS when its background worker has taken the inodes apart
 * (5.16; statfs wakes it, nothing waits for it). Make it, once enough was removed, and look again. */
static void sync_if_enough(struct culler *c, const struct cull_need *need)
{
	const struct timespec pause = {.tv_nsec = LAZY_PAUSE_NS};
	struct statfs fs;

	if (!c->is_lazy_fs || !c->freed_since_sync || need->deficit_bytes)
		return;
	if (syncfs(c->root_fd) < 0)
		LOG_LIMITED(LOG_WARNING, "cull: syncfs: %s", strerror(errno));
	for (int i = 0; i < LAZY_LOOKS && !fstatfs(c->root_fd, &fs); i++) {
		if ((uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize >=
			avail_bytes(c) + c->freed_since_sync / 2)
			break; /* it has begun to show */
		nanosleep(&pause, NULL);
	}
	c->freed_since_sync = 0;
}

/* ---- what is wrong -------------------------------------------------------------------------- */

static const char *mib(uint64_t bytes, char *out, size_t cap)
{
	snprintf(out, cap, "%llu MiB", (unsigned long long)(bytes >> 20));
	return out;
}

/* Much was removed in this run and little of it came back as free space. */
static bool is_not_freeing(const struct culler *c)
{
	uint64_t enough =
		c->run_deficit_bytes * 4 > 64u << 20 ? c->run_deficit_bytes * 4 : 64u << 20;

	return c->was_wanted && c->run_freed_bytes > enough &&
	       avail_bytes(c) < c->run_avail_bytes + c->run_freed_bytes / 8;
}

static enum culler_trouble diagnose(struct culler *c)
{
	enum culler_trouble t = cull_trouble(&c->cull);
	const struct view *v = &c->view;
	uint64_t window = (v->t.blocks.cull - v->t.blocks.stop) * v->block_size;
	bool is_refusing = v->is_stopped || c->n_refusals > c->n_refusals_seen;

	if (c->is_dead)
		return CULLER_TROUBLE_CACHE_DEAD;
	if (c->policy || !c->was_wanted)
		return CULLER_TROUBLE_NONE;
	if (t == CULLER_TROUBLE_REFUSED)
		return t;
	if (is_not_freeing(c))
		return CULLER_TROUBLE_NOT_FREEING;
	if (is_refusing && v->is_bound && c->filling.peak_rate * PINNED_S > window)
		return CULLER_TROUBLE_TOO_NARROW;
	return t;
}

static void describe(struct culler *c, enum culler_trouble t, char *out, size_t cap)
{
	const struct view *v = &c->view;
	const struct cull_pass *p = &c->cull.pass;
	char a[32], b[32], d[32];
	uint64_t used = (v->blocks - v->avail_blocks) * v->block_size;

	*out = '\0';
	switch (t) {
	case CULLER_TROUBLE_NONE:
	case CULLER_TROUBLE_STARVED:
		break;
	case CULLER_TROUBLE_ALL_BUSY:
		snprintf(out, cap,
			"space is short and all %llu objects that could go are in use; free %s, "
			"wanted %s; tried again when some are released",
			(unsigned long long)p->n_busy, mib(avail_bytes(c), a, sizeof(a)),
			mib(v->t.blocks.run * v->block_size, b, sizeof(b)));
		break;
	case CULLER_TROUBLE_NOTHING_CULLABLE:
		snprintf(out, cap,
			"space is short and nothing can be removed: of %s in use on the file system "
			"%s are in visible objects; the rest are files still held by the kernel, "
			"pinned or leased tasks, or not ours; free %s, wanted %s",
			mib(used, a, sizeof(a)), mib(c->ks.stats.object_bytes, b, sizeof(b)),
			mib(avail_bytes(c), d, sizeof(d)),
			mib(v->t.blocks.run * v->block_size, (char[32]){0}, 32));
		break;
	case CULLER_TROUBLE_TOO_NARROW:
		snprintf(out, cap,
			"the limits are too narrow for the rate of filling: %s a second came in, what "
			"is written stays in use for up to %d s, so cull and stop should be %s apart "
			"and are %s; %llu writes were refused",
			num_format_size(c->filling.peak_rate, a, sizeof(a)), PINNED_S,
			num_format_size(c->filling.peak_rate * PINNED_S, b, sizeof(b)),
			num_format_size((v->t.blocks.cull - v->t.blocks.stop) * v->block_size, d,
				sizeof(d)),
			(unsigned long long)(c->n_refusals - c->n_refusals_seen));
		break;
	case CULLER_TROUBLE_NOT_FREEING:
		snprintf(out, cap,
			"%s were removed but the free space is %s, after %s before: something fills "
			"the disk as fast, or snapshots, reflinks or open files keep the blocks",
			mib(c->run_freed_bytes, a, sizeof(a)), mib(avail_bytes(c), b, sizeof(b)),
			mib(c->run_avail_bytes, d, sizeof(d)));
		break;
	case CULLER_TROUBLE_REFUSED:
		snprintf(out, cap,
			"%llu of %llu removals failed with errors; see the messages before this one "
			"and the kernel's log",
			(unsigned long long)p->n_failed, (unsigned long long)p->n_tried);
		break;
	case CULLER_TROUBLE_CACHE_DEAD:
		snprintf(out, cap,
			"there is no kernel cache: %.220s; tried again every %llu s at most",
			c->rebind_reason, (unsigned long long)(REBIND_MAX_NS / S));
		break;
	}
}

/* A trouble is one when it lasts; and one that comes and goes with the load has to be gone for a
 * while. So the log gets a line for each change of state, not for each burst. */
static enum culler_trouble debounce(struct culler *c, enum culler_trouble t, uint64_t now)
{
	uint64_t settle = TROUBLE_SETTLE_NS;

	/* resting is interrupted by short tries: nothing has changed until one succeeds */
	if (t == CULLER_TROUBLE_NONE && c->was_wanted && c->trouble != CULLER_TROUBLE_CACHE_DEAD &&
		c->cull.phase != CULLER_IDLE && !c->cull.pass.n_freed)
		t = c->suspect;
	if (t != c->suspect) {
		c->suspect = t;
		c->suspect_ns = now;
	}
	if (t == CULLER_TROUBLE_CACHE_DEAD || c->trouble == CULLER_TROUBLE_CACHE_DEAD)
		settle = 0;
	else if (t == CULLER_TROUBLE_NONE && (c->trouble == CULLER_TROUBLE_TOO_NARROW ||
						     c->trouble == CULLER_TROUBLE_NOT_FREEING))
		settle = TROUBLE_GONE_NS;
	else if (t == CULLER_TROUBLE_NONE)
		settle = 0;
	return now - c->suspect_ns >= settle ? t : c->trouble;
}

static void report_trouble(struct culler *c, uint64_t now)
{
	enum culler_trouble was = c->trouble, t = debounce(c, diagnose(c), now);
	char sentence[sizeof(c->status.sentence)];

	describe(c, t, sentence, sizeof(sentence));
	pthread_mutex_lock(&c->lock);
	memcpy(c->status.sentence, sentence, sizeof(sentence));
	if (t != was) {
		c->status.trouble = t;
		c->status.trouble_since_ns = t ? clock_ns(CLOCK_REALTIME) : 0;
		c->status.trouble_count[t] += t != CULLER_TROUBLE_NONE;
	}
	pthread_mutex_unlock(&c->lock);
	if (t == was)
		return;
	c->trouble = t;
	if (t)
		log_warning("cull: %s state=%s", sentence, culler_trouble_name(t));
	else
		log_notice("cull: going on again state=%s before=%s",
			culler_phase_name(c->cull.phase), culler_trouble_name(was));
	post(c, CULLER_EVENT_TROUBLE);
}

static void publish(struct culler *c, const struct cull_need *need)
{
	const struct view *v = &c->view;
	const struct cull_pass *p = &c->cull.total;
	struct graveyard_stats grave = {0};
	bool is_wanted = need->is_wanted;
	unsigned events = 0;

	if (c->graveyard)
		grave = graveyard_get_stats(c->graveyard);
	pthread_mutex_lock(&c->lock);
	struct culler_status *s = &c->status;

	if (s->culling_wanted != is_wanted)
		events |= is_wanted ? CULLER_EVENT_BEGUN : CULLER_EVENT_OVER;
	if (v->is_stopped && !s->below_stop)
		events |= CULLER_EVENT_STOPPED;
	s->has_kernel = c->has_source;
	s->is_bound = v->is_bound;
	s->culling_wanted = is_wanted;
	s->below_stop = v->is_stopped;
	s->no_cull = c->cfg.no_cull;
	s->phase =
		c->cull.phase == CULLER_IDLE && c->is_preparing ? CULLER_SCANNING : c->cull.phase;
	s->block_size = v->block_size;
	s->blocks_total = v->blocks;
	s->blocks_avail = v->avail_blocks;
	s->files_total = v->files;
	s->files_avail = v->avail_files;
	s->thresholds = v->t;
	s->n_culled = p->n_freed;
	s->culled_bytes = p->freed_bytes;
	s->n_busy = p->n_busy;
	s->n_gone = p->n_gone;
	s->n_newer = p->n_newer;
	s->n_failed = p->n_failed;
	s->n_shared = p->n_shared;
	s->n_cull_runs = c->cull.n_runs;
	s->last_freed_ns = c->cull.last_freed_ns;
	s->n_refusals = c->n_refusals;
	s->n_reaped = grave.n_reaped;
	s->n_unreapable = grave.n_unreapable;
	if (c->has_source) {
		const struct kernel_source_stats *k = &c->ks.stats;
		uint64_t used = (v->blocks - v->avail_blocks) * v->block_size;

		s->n_objects = k->n_objects;
		s->object_bytes = k->object_bytes;
		s->scan_ns = k->scan_ns;
		s->scanned_at_ns = k->scanned_at_ns;
		s->n_scans = k->n_scans;
		s->n_aliens = k->n_aliens;
		s->n_empty_dirs = k->n_empty_dirs;
		s->n_candidates = kernel_source_count(&c->ks);
		s->held_by_kernel_bytes = used > k->object_bytes ? used - k->object_bytes : 0;
	}
	pthread_mutex_unlock(&c->lock);
	if (events)
		post(c, events);
}

/* ---- rebinding ------------------------------------------------------------------------------ */

/* The descriptors of a cache that was just bound; they go to the holder too. */
static int take_cache(struct culler *c)
{
	_cleanup_buf_ struct buf bound = {0};
	int cache, grave, r;

	cache = path_open_beneath(c->root_fd, "cache", O_PATH | O_DIRECTORY, 0);
	if (cache < 0)
		return cache;
	r = kcache_set_dir(&c->kc, cache);
	if (r < 0) {
		fd_close(cache);
		return r;
	}
	grave = path_open_beneath(c->root_fd, "graveyard", O_RDONLY | O_DIRECTORY, 0);
	if (grave < 0)
		return grave;
	kcache_format_bound(&c->fixed.kernel, c->fixed.use_secctx, &bound);
	if (c->holder) {
		const int fds[HOLDER_N_SLOTS] = {[HOLDER_DEVICE] = c->kc.fd,
			[HOLDER_ROOT] = c->root_fd,
			[HOLDER_CACHE] = c->kc.cache_fd,
			[HOLDER_GRAVEYARD] = grave};

		r = holder_keep(c->holder, fds, buf_str(&bound), bound.len);
		if (r < 0)
			log_warning("cull: the holder of descriptors did not take the new ones, a "
				    "crash would withdraw the cache err=%s",
				strerror(-r));
	}
	c->graveyard = graveyard_stop(c->graveyard);
	return graveyard_start(&c->graveyard, grave);
}

static void rebind(struct culler *c, uint64_t now)
{
	char reason[KCACHE_REASON] = "";
	int fd, r;

	/* every copy of the old descriptor must go before the device can be opened again */
	kernel_source_rebound(&c->ks);
	c->ks.is_dead = true; /* until there is a cache again */
	kcache_fini(&c->kc);
	if (c->holder)
		holder_drop(c->holder);
	pthread_mutex_lock(&c->lock);
	c->fixed.kernel.limits = c->cfg.kernel.limits; /* of the last reload */
	pthread_mutex_unlock(&c->lock);
	c->fixed.is_bound_otherwise = false;
	fd = kcache_open(c->fixed.device, reason);
	r = fd;
	if (fd >= 0) {
		kcache_init(&c->kc, fd);
		r = kcache_bind(&c->kc, &c->fixed.kernel, c->fixed.use_secctx, reason);
		if (r == 0)
			r = take_cache(c);
		if (r < 0)
			kcache_fini(&c->kc);
	}
	if (r < 0) {
		if (!*reason)
			snprintf(reason, sizeof(reason), "%s", strerror(-r));
		if (strcmp(reason, c->rebind_reason))
			log_warning(
				"cull: the cache cannot be bound again, will be tried again: %s",
				reason);
		memcpy(c->rebind_reason, reason, sizeof(reason));
		c->rebind_ns = clock_ns(CLOCK_MONOTONIC) + c->rebind_pause_ns;
		c->rebind_pause_ns = c->rebind_pause_ns * 2 < REBIND_MAX_NS ? c->rebind_pause_ns * 2
									    : REBIND_MAX_NS;
		return;
	}
	log_notice("cull: the cache was opened and bound again dir=%s", c->fixed.kernel.dir);
	kernel_source_rebound(&c->ks);
	c->is_dead = false;
	c->probed_ns = now;
	pthread_mutex_lock(&c->lock);
	c->status.n_rebinds++;
	pthread_mutex_unlock(&c->lock);
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool list_line(void *arg, uint64_t used_ns, uint64_t bytes, const char *label)
{
	struct lister *l = arg;
	struct culler_line *line;

	if (l->n_lines == l->cap_lines) {
		size_t cap = l->cap_lines ? l->cap_lines * 2 : 256;

		line = realloc(l->lines, cap * sizeof(*line));
		if (!line) {
			l->has_no_memory = true;
			return false;
		}
		l->lines = line;
		l->cap_lines = cap;
	}
	line = &l->lines[l->n_lines++];
	*line = (struct culler_line){.used_ns = used_ns, .bytes = bytes};
	snprintf(line->label, sizeof(line->label), "%s", label);
	l->source_bytes += bytes;
	return !(l->rq->max_lines && l->n_lines - l->first == l->rq->max_lines) &&
	       !(l->want_bytes && l->source_bytes >= l->want_bytes);
}

static void begin_source(struct lister *l)
{
	l->first = l->n_lines;
	l->source_bytes = 0;
}

static void end_source(struct lister *l, const char *name)
{
	for (size_t i = l->first; i < l->n_lines; i++)
		l->lines[i].source = name;
}

static int by_use(const void *a, const void *b)
{
	const struct culler_line *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

/* Oldest first, as far as the request goes. */
static void cut_lines(struct culler_request *rq, struct lister *l)
{
	size_t n = 0;

	if (l->n_lines)
		qsort(l->lines, l->n_lines, sizeof(*l->lines), by_use);
	while (n < l->n_lines && !(rq->max_lines && n == rq->max_lines) &&
		(!rq->bytes || rq->freed_bytes < l->want_bytes))
		rq->freed_bytes += l->lines[n++].bytes;
	rq->lines = l->lines;
	rq->n_lines = rq->n_objects = n;
	l->lines = NULL;
}

static void *run_lister(void *arg)
{
	struct culler *c = arg;
	struct lister *l = &c->lister;
	bool is_enough = l->rq->bytes && !l->want_bytes;
	int r = 0;

	begin_source(l);
	if (l->cache_fd >= 0 && !is_enough)
		r = kernel_source_list(l->cache_fd, l->rq->max_lines, &c->stop, list_line, l);
	end_source(l, "kernel");
	if (l->has_no_memory)
		r = -ENOMEM;
	if (r == 0)
		cut_lines(l->rq, l);
	free(l->lines);
	l->lines = NULL;
	l->cache_fd = fd_close(l->cache_fd);
	finish(c, l->rq, r);
	return NULL;
}

static void join_lister(struct culler *c)
{
	if (c->lister.is_running)
		pthread_join(c->lister.thread, NULL);
	c->lister.is_running = false;
}

/* The other sources are listed here, on their thread; the kernel's tree on one of its own. */
static void start_dry_run(struct culler *c, struct culler_request *rq)
{
	struct lister *l = &c->lister;
	uint64_t avail = avail_bytes(c);
	int r;

	join_lister(c);
	*l = (struct lister){.rq = rq, .cache_fd = -1};
	l->want_bytes = rq->bytes > avail ? rq->bytes - avail : 0;
	for (size_t i = 0; i < c->cull.n_sources; i++) {
		struct cull_source *s = c->cull.sources[i];

		if (s == &c->ks.source || (rq->bytes && !l->want_bytes))
			continue;
		begin_source(l);
		if (s->ops->list(s, list_line, l) < 0)
			l->has_no_memory = true;
		end_source(l, s->ops->name);
	}
	if (c->kc.cache_fd >= 0)
		l->cache_fd = fcntl(c->kc.cache_fd, F_DUPFD_CLOEXEC, 3);
	r = pthread_create(&l->thread, NULL, run_lister, c);
	l->is_running = !r;
	if (r) {
		free(l->lines);
		l->lines = NULL;
		l->cache_fd = fd_close(l->cache_fd);
		finish(c, rq, -r);
	}
}

static void copy_evictions(struct culler *c, struct culler_request *rq)
{
	size_t have = c->cull.n_records < CULL_N_RECORDS ? c->cull.n_records : CULL_N_RECORDS;
	size_t n = rq->max_lines && rq->max_lines < have ? rq->max_lines : have;

	rq->lines = calloc(n ? n : 1, sizeof(*rq->lines));
	if (!rq->lines) {
		finish(c, rq, -ENOMEM);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct cull_record *r =
			&c->cull.records[(c->cull.n_records - 1 - i) % CULL_N_RECORDS];
		struct culler_line *line = &rq->lines[i];

		*line = (struct culler_line){.used_ns = r->used_ns,
			.bytes = r->bytes,
			.at_ns = r->at_ns,
			.source = r->source};
		snprintf(line->reason, sizeof(line->reason), "%s", r->reason);
		snprintf(line->label, sizeof(line->label), "%s", r->label);
		rq->freed_bytes += r->bytes;
	}
	rq->n_lines = rq->n_objects = n;
	finish(c, rq, 0);
}

static struct culler_request *next_request(struct culler *c)
{
	struct list *node, *found = NULL;

	pthread_mutex_lock(&c->lock);
	for (node = c->requests.next; node != &c->requests && !found; node = node->next) {
		struct culler_request *rq = list_entry(node, struct culler_request, link);

		if (rq->kind != CULLER_REQ_FREE || !c->asked)
			found = node;
	}
	if (found)
		list_del(found);
	pthread_mutex_unlock(&c->lock);
	return found ? list_entry(found, struct culler_request, link) : NULL;
}

static void serve_requests(struct culler *c, uint64_t now)
{
	struct culler_request *rq;

	while ((rq = next_request(c)))
		switch (rq->kind) {
		case CULLER_REQ_FREE:
			c->asked = rq;
			c->asked_ns = now;
			c->is_woken = true;
			c->asked_start_freed = c->cull.total.freed_bytes;
			rq->n_objects = c->cull.total.n_freed;
			break;
		case CULLER_REQ_DRY_RUN:
			start_dry_run(c, rq);
			break;
		case CULLER_REQ_EVICTIONS:
			copy_evictions(c, rq);
			break;
		}
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* Sleep until something happens or @ns passed. POLLOUT says "culling is wanted" all the time and
 * is not waited for: that would not be sleeping. */
static void wait_for(struct culler *c, uint64_t ns)
{
	struct pollfd fds[2] = {{.fd = c->wake_fd, .events = POLLIN},
		{.fd = c->is_dead ? -1 : c->kc.fd, .events = POLLIN}};
	struct timespec t = {.tv_sec = (time_t)(ns / S), .tv_nsec = (long)(ns % S)};
	int n;

	c->planned_ns = clock_ns(CLOCK_MONOTONIC) + ns;
	n = ppoll(fds, 2, &t, NULL);
	if (n > 0 && fds[0].revents) {
		unpoke(c->wake_fd);
		c->is_woken = true;
	}
}

static void note_starvation(struct culler *c, uint64_t now)
{
	if (!c->planned_ns || now < c->planned_ns + STARVED_NS)
		return;
	log_warning(
		"cull: the culling thread did not run for %llu s: the machine is overloaded, or "
		"was suspended state=%s",
		(unsigned long long)((now - c->planned_ns) / S),
		culler_trouble_name(CULLER_TROUBLE_STARVED));
	pthread_mutex_lock(&c->lock);
	c->status.trouble_count[CULLER_TROUBLE_STARVED]++;
	pthread_mutex_unlock(&c->lock);
}

static void note_run(struct culler *c, bool was_wanted, const struct cull_need *need)
{
	const struct view *v = &c->view;
	char a[32], b[32];

	if (c->was_wanted == was_wanted)
		return;
	if (c->was_wanted) {
		c->run_freed_bytes = 0;
		c->run_avail_bytes = avail_bytes(c);
		c->run_deficit_bytes = need->deficit_bytes;
		c->n_refusals_seen = c->n_refusals;
		log_info("cull: begins free=%s run=%s files_free=%llu files_run=%llu",
			mib(avail_bytes(c), a, sizeof(a)),
			mib(v->t.blocks.run * v->block_size, b, sizeof(b)),
			(unsigned long long)v->avail_files, (unsigned long long)v->t.files.run);
		return;
	}
	log_info("cull: over free=%s freed=%s removed_in_all=%llu",
		mib(avail_bytes(c), a, sizeof(a)), mib(c->run_freed_bytes, b, sizeof(b)),
		(unsigned long long)c->cull.total.n_freed);
}

/* Fill the table while nothing is wanted, so that culling can begin at once and sizes are known. */
static void prepare(struct culler *c)
{
	uint64_t started = clock_ns(CLOCK_MONOTONIC), used;

	if (!c->has_source || c->cull.phase != CULLER_IDLE)
		c->is_preparing = false;
	while (c->is_preparing && clock_ns(CLOCK_MONOTONIC) - started < LOOK_NS / 4)
		c->is_preparing =
			c->ks.source.ops->oldest(&c->ks.source, &used) == CULL_OFFER_WORKING;
}

/* One turn; returns how long nothing needs to be done. */
static uint64_t turn(struct culler *c, const struct culler_config *cfg)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC), wait, freed = c->cull.total.freed_bytes;
	bool was_wanted = c->was_wanted;
	enum cull_verdict verdict;
	struct cull_need need;

	note_starvation(c, now);
	c->planned_ns = 0;
	if (c->is_dead && now >= c->rebind_ns)
		rebind(c, now);
	look(c, cfg, now);
	if ((c->was_wanted || c->view.is_culling) && now - c->refusals_ns >= TICK_NS) {
		c->refusals_ns = now;
		read_refusals(c);
	}
	serve_requests(c, now);
	c->cull.resume_files = cfg->resume_files;
	c->cull.resume_bytes =
		cfg->resume_blocks < 0 ? CULLER_RESUME_IGNORE : cfg->resume_blocks * 512;
	need = compute_need(c, cfg, now);
	note_run(c, was_wanted, &need);
	for (;;) {
		verdict = cull_step(&c->cull, &need, now, clock_ns(CLOCK_REALTIME), &wait);
		now = clock_ns(CLOCK_MONOTONIC);
		atomic_store(&c->heartbeat_ns, now);
		need.n_released = need.released_bytes = 0;
		need.wake = false;
		if (verdict != CULL_AGAIN || now - c->looked_ns > LOOK_NS || atomic_load(&c->stop))
			break;
	}
	freed = c->cull.total.freed_bytes - freed;
	c->run_freed_bytes += freed;
	c->freed_since_sync += freed;
	if (c->is_lazy_fs) {
		need.deficit_bytes = need.deficit_bytes > freed ? need.deficit_bytes - freed : 0;
		sync_if_enough(c, &need);
	}
	prepare(c);
	publish(c, &need);
	report_trouble(c, now);
	if (verdict != CULL_WAIT || c->is_preparing)
		return 0;
	/* somebody waits to hear that nothing more can go */
	if (asked_is_in_vain(c))
		return 0;
	if (c->is_dead && c->rebind_ns < now + TICK_NS)
		wait = c->rebind_ns > now ? c->rebind_ns - now : 0;
	return wait < TICK_NS ? wait : TICK_NS;
}

static void *run(void *arg)
{
	struct culler *c = arg;

	pthread_setname_np(pthread_self(), "culler");
	if (unshare(CLONE_FS) < 0) {
		/* without it every cull would move the working directory of the whole process */
		log_err("cull: no working directory of its own: %s", strerror(errno));
		post(c, CULLER_EVENT_FAILED);
		return NULL;
	}
	if (chdir("/") < 0)
		log_warning("cull: chdir /: %s", strerror(errno));
	while (!atomic_load(&c->stop)) {
		struct culler_config cfg;
		uint64_t ns;

		pthread_mutex_lock(&c->lock);
		cfg = c->cfg;
		pthread_mutex_unlock(&c->lock);
		ns = turn(c, &cfg);
		if (ns)
			wait_for(c, ns);
	}
	if (c->has_source)
		kcache_leave();
	return NULL;
}

/* ---- from the door thread ------------------------------------------------------------------- */

static char *copy_string(struct culler *c, size_t i, const char *s, bool *ok)
{
	if (s) {
		c->strings[i] = strdup(s);
		*ok &= c->strings[i] != NULL;
	}
	return c->strings[i];
}

static int copy_config(struct culler *c, const struct culler_config *cfg)
{
	bool ok = true;

	c->fixed = *cfg;
	c->fixed.kernel.dir = copy_string(c, 0, cfg->kernel.dir, &ok);
	c->fixed.kernel.tag = copy_string(c, 1, cfg->kernel.tag, &ok);
	c->fixed.kernel.secctx = copy_string(c, 2, cfg->kernel.secctx, &ok);
	c->fixed.device = copy_string(c, 3, cfg->device, &ok);
	c->raw = calloc(cfg->kernel.n_raw + 1, sizeof(*c->raw));
	for (size_t i = 0; c->raw && i < cfg->kernel.n_raw; i++) {
		c->raw[i] = strdup(cfg->kernel.raw[i]);
		ok &= c->raw[i] != NULL;
	}
	c->fixed.kernel.raw = (const char *const *)c->raw;
	c->cfg = c->fixed;
	return ok && c->raw ? 0 : -ENOMEM;
}

static void culler_free(struct culler *c)
{
	graveyard_stop(c->graveyard);
	if (c->has_source)
		kernel_source_fini(&c->ks);
	kcache_fini(&c->kc);
	fd_close(c->root_fd);
	fd_close(c->wake_fd);
	fd_close(c->event_fd);
	for (size_t i = 0; i < ARRAY_SIZE(c->strings); i++)
		free(c->strings[i]);
	for (size_t i = 0; c->raw && c->raw[i]; i++)
		free(c->raw[i]);
	free(c->raw);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void close_fds(struct culler_fds *fds)
{
	fds->device = fd_close(fds->device);
	fds->root = fd_close(fds->root);
	fds->cache = fd_close(fds->cache);
	fds->graveyard = fd_close(fds->graveyard);
}

/* Moves @fds into @c as far as it gets; the rest is the caller's to close. */
static int set_up(struct culler *c, const struct culler_config *cfg, struct culler_fds *fds,
	struct cull_source *const *sources, size_t n_sources)
{
	struct cull_source *all[CULL_MAX_SOURCES];
	size_t n = 0;
	struct statfs fs;
	int r;

	c->root_fd = take_fd(&fds->root);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0 || c->event_fd < 0 || fstatfs(c->root_fd, &fs) < 0)
		return -errno;
	c->is_lazy_fs = (uint32_t)fs.f_type == BTRFS_MAGIC || (uint32_t)fs.f_type == XFS_MAGIC ||
			(uint32_t)fs.f_type == BCACHEFS_MAGIC;
	r = copy_config(c, cfg);
	if (r < 0)
		return r;
	if (!cfg->no_kernel) {
		c->kc.fd = take_fd(&fds->device);
		r = kcache_set_dir(&c->kc, fds->cache);
		if (r < 0)
			return r;
		take_fd(&fds->cache);
		r = kernel_source_init(&c->ks, &c->kc, cfg->culltable);
		if (r < 0)
			return r;
		c->has_source = true;
		all[n++] = &c->ks.source;
		r = graveyard_start(&c->graveyard, take_fd(&fds->graveyard));
		if (r < 0)
			return r;
	}
	if (n + n_sources > CULL_MAX_SOURCES)
		return -E2BIG;
	for (size_t i = 0; i < n_sources; i++)
		all[n++] = sources[i];
	cull_init(&c->cull, all, n);
	c->is_preparing = c->has_source && !cfg->no_cull;
	return 0;
}

int culler_start(struct culler **out, const struct culler_config *cfg, struct culler_fds fds,
	struct cull_source *const *sources, size_t n_sources, struct holder *holder)
{
	struct culler *c = calloc(1, sizeof(*c));
	sigset_t all, old;
	int r;

	*out = NULL;
	if (!c) {
		close_fds(&fds);
		return -ENOMEM;
	}
	c->root_fd = c->wake_fd = c->event_fd = -1;
	kcache_init(&c->kc, -1);
	pthread_mutex_init(&c->lock, NULL);
	list_init(&c->requests);
	list_init(&c->done);
	c->holder = holder;
	c->lister.cache_fd = -1;
	c->heartbeat_ns = clock_ns(CLOCK_MONOTONIC);
	r = set_up(c, cfg, &fds, sources, n_sources);
	close_fds(&fds);
	if (r == 0) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &old);
		r = -pthread_create(&c->thread, NULL, run, c);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	if (r < 0) {
		culler_free(c);
		return r;
	}
	*out = c;
	return 0;
}

struct culler *culler_stop(struct culler *c)
{
	struct list *node;

	if (!c)
		return NULL;
	atomic_store(&c->stop, true);
	poke(c->wake_fd);
	pthread_join(c->thread, NULL);
	join_lister(c);
	if (c->asked)
		finish(c, c->asked, -ECANCELED);
	while ((node = list_pop(&c->requests)))
		finish(c, list_entry(node, struct culler_request, link), -ECANCELED);
	culler_dispatch(c);
	culler_free(c);
	return NULL;
}

void culler_wake(struct culler *c)
{
	poke(c->wake_fd);
}

static bool differs(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

size_t culler_reload(struct culler *c, const struct culler_config *cfg, struct buf *needs_restart)
{
	const struct culler_config *f = &c->fixed;
	size_t n = 0;
	const struct {
		const char *word;
		bool is_changed;
	} rows[] = {
		{"dir", differs(f->kernel.dir, cfg->kernel.dir)},
		{"tag", differs(f->kernel.tag, cfg->kernel.tag)},
		{"secctx", differs(f->kernel.secctx, cfg->kernel.secctx)},
		{"nokernel", f->no_kernel != cfg->no_kernel},
		{"culltable", !f->no_kernel && f->culltable != cfg->culltable},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!rows[i].is_changed)
			continue;
		buf_addf(needs_restart, "%s\n", rows[i].word);
		n++;
	}
	pthread_mutex_lock(&c->lock);
	c->cfg.kernel.limits = cfg->kernel.limits;
	c->cfg.no_cull = cfg->no_cull;
	c->cfg.resume_blocks = cfg->resume_blocks;
	c->cfg.resume_files = cfg->resume_files;
	c->cfg.overshoot_permille = cfg->overshoot_permille;
	c->cfg.kernel_max_bytes = cfg->kernel_max_bytes;
	c->cfg.kernel_max_age_ns = cfg->kernel_max_age_ns;
	pthread_mutex_unlock(&c->lock);
	poke(c->wake_fd);
	return n;
}

void culler_get_status(struct culler *c, struct culler_status *out)
{
	uint64_t age = clock_ns(CLOCK_MONOTONIC) - atomic_load(&c->heartbeat_ns);

	pthread_mutex_lock(&c->lock);
	*out = c->status;
	pthread_mutex_unlock(&c->lock);
	if (age > STARVED_NS && out->trouble < CULLER_TROUBLE_STARVED) {
		out->trouble = CULLER_TROUBLE_STARVED;
		snprintf(out->sentence, sizeof(out->sentence),
			"the culling thread has not moved for %llu s while %s: the disk or the kernel "
			"does not answer, or the machine is overloaded",
			(unsigned long long)(age / S), culler_phase_name(out->phase));
	}
}

bool culler_is_alive(struct culler *c, uint64_t max_ns)
{
	uint64_t age = clock_ns(CLOCK_MONOTONIC) - atomic_load(&c->heartbeat_ns);
	bool is_starved = age > STARVED_NS;

	if (is_starved != c->is_starved) {
		struct culler_status s;

		culler_get_status(c, &s);
		if (is_starved)
			log_warning("cull: %s state=%s", s.sentence,
				culler_trouble_name(CULLER_TROUBLE_STARVED));
		else
			log_notice("cull: the culling thread moves again");
	}
	c->is_starved = is_starved;
	return age <= max_ns;
}

int culler_event_fd(struct culler *c)
{
	return c->event_fd;
}

unsigned culler_dispatch(struct culler *c)
{
	unsigned events;

	unpoke(c->event_fd);
	for (;;) {
		struct list *node;

		pthread_mutex_lock(&c->lock);
		node = list_pop(&c->done);
		events = c->events;
		if (!node)
			c->events = 0;
		pthread_mutex_unlock(&c->lock);
		if (!node)
			return events;
		struct culler_request *rq = list_entry(node, struct culler_request, link);

		rq->done(rq);
	}
}

void culler_submit(struct culler *c, struct culler_request *rq)
{
	rq->status = 0;
	rq->freed_bytes = rq->n_objects = 0;
	rq->lines = NULL;
	rq->n_lines = 0;
	pthread_mutex_lock(&c->lock);
	list_push(&c->requests, &rq->link);
	pthread_mutex_unlock(&c->lock);
	poke(c->wake_fd);
}
