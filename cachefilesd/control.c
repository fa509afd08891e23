/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control.c — see control.h */
#include "cachefilesd/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"

#define SECOND 1000000000ull

static const char *size_text(uint64_t bytes, char out[NUM_TEXT])
{
	return num_format_size(bytes, out, NUM_TEXT);
}

/* whole seconds: nobody reads nanoseconds */
static const char *age_text(uint64_t now_ns, uint64_t then_ns, char out[NUM_TEXT])
{
	uint64_t ns = now_ns > then_ns ? now_ns - then_ns : 0;

	return num_format_duration(ns / SECOND * SECOND, out, NUM_TEXT);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

/* ---- space ----------------------------------------------------------------------------------- */

struct space {
	uint64_t block, total, avail, files_total, files_avail;
	struct limits_thresholds th;
};

static struct space space_of(const struct control_facts *f)
{
	if (f->has_store)
		return (struct space){f->store.space.block_size, f->store.space.blocks_total,
			f->store.space.blocks_avail, f->store.space.files_total,
			f->store.space.files_avail, f->store.thresholds};
	return (struct space){f->culler.block_size, f->culler.blocks_total, f->culler.blocks_avail,
		f->culler.files_total, f->culler.files_avail, f->culler.thresholds};
}

static void text_limit(struct buf *out, const char *word, unsigned pct, uint64_t limit,
	uint64_t avail, uint64_t unit, const char *meaning)
{
	char a[NUM_TEXT], b[NUM_TEXT];
	uint64_t distance = avail > limit ? avail - limit : limit - avail;

	if (unit == 1)
		buf_addf(out, "  %-5s %3u%%  %-10" PRIu64 " %s; now %" PRIu64 " %s it\n", word, pct,
			limit, meaning, distance, avail >= limit ? "above" : "BELOW");
	else
		buf_addf(out, "  %-5s %3u%%  %-10s %s; now %s %s it\n", word, pct,
			size_text(limit * unit, a), meaning, size_text(distance * unit, b),
			avail >= limit ? "above" : "BELOW");
}

static void text_space(const struct control_facts *f, struct buf *out)
{
	const struct limits *l = &f->cfg->limits;
	struct space s = space_of(f);
	char a[NUM_TEXT], b[NUM_TEXT];

	buf_addf(out, "space     %s free of %s (%.1f%%)\n", size_text(s.avail * s.block, a),
		size_text(s.total * s.block, b), percent(s.avail, s.total));
	text_limit(out, "brun", l->blocks.run, s.th.blocks.run, s.avail, s.block,
		"culling ends above");
	text_limit(out, "bcull", l->blocks.cull, s.th.blocks.cull, s.avail, s.block,
		"culling begins below");
	text_limit(out, "bstop", l->blocks.stop, s.th.blocks.stop, s.avail, s.block,
		"nothing new is stored below");
	if (!s.files_total) {
		buf_adds(out, "inodes    this file system does not limit them\n");
		return;
	}
	buf_addf(out, "inodes    %" PRIu64 " free of %" PRIu64 " (%.1f%%)\n", s.files_avail,
		s.files_total, percent(s.files_avail, s.files_total));
	text_limit(
		out, "frun", l->files.run, s.th.files.run, s.files_avail, 1, "culling ends above");
	text_limit(out, "fcull", l->files.cull, s.th.files.cull, s.files_avail, 1,
		"culling begins below");
	text_limit(out, "fstop", l->files.stop, s.th.files.stop, s.files_avail, 1,
		"nothing new is stored below");
}

/* ---- status as text -------------------------------------------------------------------------- */

static void text_culler(const struct control_facts *f, struct buf *out)
{
	const struct culler_status *c = &f->culler;
	char a[NUM_TEXT], b[NUM_TEXT];

	buf_addf(out, "culling   %s%s, %s\n", c->no_cull ? "switched off, " : "",
		c->culling_wanted ? "wanted" : "not wanted", culler_phase_name(c->phase));
	if (c->trouble != CULLER_TROUBLE_NONE)
		buf_addf(out, "TROUBLE   %s for %s: %s\n", culler_trouble_name(c->trouble),
			age_text(f->now_ns, c->trouble_since_ns, a), c->sentence);
	buf_addf(out,
		"  removed %" PRIu64 " objects, %s; busy %" PRIu64 ", shared %" PRIu64
		", failed %" PRIu64 "\n",
		c->n_culled, size_text(c->culled_bytes, a), c->n_busy, c->n_shared, c->n_failed);
	if (!c->has_kernel) {
		buf_adds(out, "kernel    not used (nokernel)\n");
		return;
	}
	buf_addf(out, "kernel    %s; %" PRIu64 " objects seen, %s; %" PRIu64 " candidates\n",
		c->is_bound ? "bound" : "NOT BOUND", c->n_objects, size_text(c->object_bytes, a),
		c->n_candidates);
	buf_addf(out, "  %s not visible in its tree (held by the kernel, or other files here)\n",
		size_text(c->held_by_kernel_bytes, b));
}

static void text_store(const struct control_facts *f, struct buf *out)
{
	const struct depot_figures *d = &f->store;
	char a[NUM_TEXT], b[NUM_TEXT], c[NUM_TEXT];

	buf_addf(out, "tasks     %zu, %s; pinned %zu, %s; could be culled %s\n", d->n_tasks,
		size_text(d->task_bytes, a), d->n_pinned, size_text(d->pinned_bytes, b),
		size_text(d->cullable_bytes, c));
	buf_addf(out, "  in use %zu; unfinished %zu, %s; promised %s; clients %zu\n", d->n_leased,
		d->n_partials, size_text(d->partial_bytes, a), size_text(d->promised_bytes, b),
		f->n_clients);
	buf_addf(out,
		"  since the start: committed %" PRIu64 ", expired %" PRIu64 ", deleted %" PRIu64
		", culled %" PRIu64 ", damaged %" PRIu64 "\n",
		d->n_committed, d->n_expired, d->n_deleted, d->n_culled, d->n_damaged);
	if (d->held_bytes)
		buf_addf(out, "  removed and still being read: %s, free when the readers end\n",
			size_text(d->held_bytes, a));
	if (d->clock_is_doubtful)
		buf_adds(out, "CLOCK     it is not where it was left: nothing expires until it is "
			      "believed\n");
}

static void status_text(const struct control_facts *f, struct buf *out)
{
	char a[NUM_TEXT];

	buf_addf(out, "cachefilesd %s in %s, up for %s\n", VERSION, f->dir,
		age_text(f->now_ns, f->started_ns, a));
	text_space(f, out);
	if (f->has_culler)
		text_culler(f, out);
	if (f->has_store)
		text_store(f, out);
	else
		buf_adds(out, "tasks     the piece store is off (keyword store)\n");
}

/* ---- status as JSON and as metrics: one list of figures -------------------------------------- */

typedef void (*emit_fn)(
	struct buf *out, const char *group, const char *name, const char *help, uint64_t value);

static void figures(const struct control_facts *f, emit_fn emit, struct buf *out)
{
	const struct culler_status *c = &f->culler;
	const struct depot_figures *d = &f->store;
	struct space s = space_of(f);

	emit(out, "space", "total_bytes", "size of the file system", s.total * s.block);
	emit(out, "space", "free_bytes", "available bytes", s.avail * s.block);
	emit(out, "space", "run_bytes", "culling ends above", s.th.blocks.run * s.block);
	emit(out, "space", "cull_bytes", "culling begins below", s.th.blocks.cull * s.block);
	emit(out, "space", "stop_bytes", "nothing is stored below", s.th.blocks.stop * s.block);
	emit(out, "space", "total_files", "inodes, 0 = not limited", s.files_total);
	emit(out, "space", "free_files", "free inodes", s.files_avail);
	emit(out, "space", "run_files", "culling ends above", s.th.files.run);
	emit(out, "space", "cull_files", "culling begins below", s.th.files.cull);
	emit(out, "space", "stop_files", "nothing is stored below", s.th.files.stop);
	if (f->has_culler) {
		emit(out, "cull", "wanted", "1 while culling is wanted", c->culling_wanted);
		emit(out, "cull", "below_stop", "1 while below a stop limit", c->below_stop);
		emit(out, "cull", "phase", "0 idle 1 scanning 2 culling 3 resting",
			(uint64_t)c->phase);
		emit(out, "cull", "trouble", "0 none, else the number of the trouble",
			(uint64_t)c->trouble);
		emit(out, "cull", "removed_total", "objects removed", c->n_culled);
		emit(out, "cull", "removed_bytes_total", "bytes freed", c->culled_bytes);
		emit(out, "cull", "busy_total", "candidates in use", c->n_busy);
		emit(out, "cull", "shared_total", "removed but shared", c->n_shared);
		emit(out, "cull", "failed_total", "could not be removed", c->n_failed);
		emit(out, "cull", "runs_total", "cull runs", c->n_cull_runs);
	}
	if (f->has_culler && c->has_kernel) {
		emit(out, "kernel", "bound", "1 while the cache is bound", c->is_bound);
		emit(out, "kernel", "objects", "objects in the tree", c->n_objects);
		emit(out, "kernel", "object_bytes", "their size", c->object_bytes);
		emit(out, "kernel", "held_bytes", "used and not visible", c->held_by_kernel_bytes);
		emit(out, "kernel", "scans_total", "scans of the tree", c->n_scans);
		emit(out, "kernel", "rebinds_total", "times bound again", c->n_rebinds);
		emit(out, "kernel", "refusals_total", "stores refused for space", c->n_refusals);
		emit(out, "kernel", "reaped_total", "deleted from the graveyard", c->n_reaped);
		emit(out, "kernel", "aliens_total", "foreign names moved away", c->n_aliens);
	}
	if (f->has_store) {
		emit(out, "tasks", "count", "complete tasks", d->n_tasks);
		emit(out, "tasks", "bytes", "bytes they occupy", d->task_bytes);
		emit(out, "tasks", "pinned", "pinned tasks", d->n_pinned);
		emit(out, "tasks", "pinned_bytes", "bytes they occupy", d->pinned_bytes);
		emit(out, "tasks", "cullable_bytes", "bytes that could be culled",
			d->cullable_bytes);
		emit(out, "tasks", "leased", "tasks in use", d->n_leased);
		emit(out, "tasks", "partials", "unfinished tasks", d->n_partials);
		emit(out, "tasks", "partial_bytes", "bytes reserved for them", d->partial_bytes);
		emit(out, "tasks", "promised_bytes", "admitted, not yet reserved",
			d->promised_bytes);
		emit(out, "tasks", "held_bytes", "removed, still being read", d->held_bytes);
		emit(out, "tasks", "clients", "connected clients", f->n_clients);
		emit(out, "tasks", "committed_total", "tasks committed", d->n_committed);
		emit(out, "tasks", "expired_total", "tasks expired", d->n_expired);
		emit(out, "tasks", "deleted_total", "tasks deleted", d->n_deleted);
		emit(out, "tasks", "culled_total", "tasks culled", d->n_culled);
		emit(out, "tasks", "culled_bytes_total", "bytes of them", d->culled_bytes);
		emit(out, "tasks", "damaged_total", "tasks that did not verify", d->n_damaged);
		emit(out, "tasks", "clock_doubtful", "1 while the clock is not believed",
			d->clock_is_doubtful);
	}
}

static void emit_json(
	struct buf *out, const char *group, const char *name, const char *help, uint64_t value)
{
	buf_addf(out, ",\n  \"%s_%s\": %" PRIu64, group, name, value);
}

static void emit_metric(
	struct buf *out, const char *group, const char *name, const char *help, uint64_t value)
{
	size_t n = strlen(name);
	bool counter = n > 6 && strcmp(name + n - 6, "_total") == 0;

	buf_addf(out,
		"# HELP cachefilesd_%s_%s %s\n# TYPE cachefilesd_%s_%s %s\n"
		"cachefilesd_%s_%s %" PRIu64 "\n",
		group, name, help, group, name, counter ? "counter" : "gauge", group, name, value);
}

static void status_json(const struct control_facts *f, struct buf *out)
{
	buf_adds(out, "{\n  \"version\": ");
	buf_json_string(out, VERSION);
	buf_adds(out, ",\n  \"dir\": ");
	buf_json_string(out, f->dir);
	buf_addf(out, ",\n  \"started_ns\": %" PRIu64 ",\n  \"now_ns\": %" PRIu64, f->started_ns,
		f->now_ns);
	buf_addf(out, ",\n  \"kernel\": %s,\n  \"store\": %s",
		f->has_culler && f->culler.has_kernel ? "true" : "false",
		f->has_store ? "true" : "false");
	if (f->has_culler) {
		buf_adds(out, ",\n  \"phase\": ");
		buf_json_string(out, culler_phase_name(f->culler.phase));
		buf_adds(out, ",\n  \"trouble\": ");
		buf_json_string(out, culler_trouble_name(f->culler.trouble));
		buf_adds(out, ",\n  \"trouble_sentence\": ");
		buf_json_string(out, f->culler.sentence);
	}
	figures(f, emit_json, out);
	buf_adds(out, "\n}\n");
}

void control_status(const struct control_facts *f, bool json, struct buf *out)
{
	if (json)
		status_json(f, out);
	else
		status_text(f, out);
}

void control_metrics(const struct control_facts *f, struct buf *out)
{
	figures(f, emit_metric, out);
	if (!f->has_culler)
		return;
	buf_adds(out, "# HELP cachefilesd_trouble_total times each trouble began\n"
		      "# TYPE cachefilesd_trouble_total counter\n");
	for (int i = CULLER_TROUBLE_NONE + 1; i < CULLER_N_TROUBLES; i++)
		buf_addf(out, "cachefilesd_trouble_total{cause=\"%s\"} %" PRIu64 "\n",
			culler_trouble_name((enum culler_trouble)i), f->culler.trouble_count[i]);
}

/* ---- lines ----------------------------------------------------------------------------------- */

void control_lines(
	const struct culler_line *v, size_t n, uint64_t now_ns, bool json, struct buf *out)
{
	char a[NUM_TEXT], b[NUM_TEXT], c[NUM_TEXT];

	for (size_t i = 0; i < n; i++) {
		const struct culler_line *l = &v[i];

		if (json) {
			buf_addf(out,
				"{\"at_ns\":%" PRIu64 ",\"used_ns\":%" PRIu64 ",\"bytes\":%" PRIu64
				",\"source\":",
				l->at_ns, l->used_ns, l->bytes);
			buf_json_string(out, l->source);
			buf_adds(out, ",\"reason\":");
			buf_json_string(out, l->reason);
			buf_adds(out, ",\"label\":");
			buf_json_string(out, l->label);
			buf_adds(out, "}\n");
			continue;
		}
		if (l->at_ns)
			buf_addf(out, "%s ago  ", age_text(now_ns, l->at_ns, a));
		buf_addf(out, "%-10s %-7s %s  unused for %s%s%s\n", size_text(l->bytes, b),
			l->source, l->label,
			l->used_ns ? age_text(l->at_ns ? l->at_ns : now_ns, l->used_ns, c) : "ever",
			l->reason[0] ? "  reason " : "", l->reason);
	}
}

static const char *state_text(const struct store_info *i)
{
	return i->state == STORE_PARTIAL ? "partial" : i->pinned ? "pinned" : "complete";
}

void control_task(const struct store_info *i, uint64_t now_ns, bool json, struct buf *out)
{
	char a[NUM_TEXT], b[NUM_TEXT], c[NUM_TEXT];

	if (json) {
		buf_adds(out, "{\"id\":");
		buf_json_string(out, i->id);
		buf_addf(out,
			",\"state\":\"%s\",\"pinned\":%s,\"leased\":%s,\"length\":%" PRIu64
			",\"bytes_on_disk\":%" PRIu64 ",\"piece_length\":%u,\"n_pieces\":%u,"
			"\"n_present\":%u,\"created_ns\":%" PRIu64 ",\"used_ns\":%" PRIu64
			",\"expires_ns\":%" PRIu64 ",\"uid\":%u,\"generation\":%" PRIu64
			",\"fingerprint\":\"",
			i->state == STORE_PARTIAL ? "partial" : "complete",
			i->pinned ? "true" : "false", i->leased ? "true" : "false", i->length,
			i->bytes_on_disk, i->piece_length, i->n_pieces, i->n_present, i->created_ns,
			i->used_ns, i->expires_ns, (unsigned)i->uid, i->generation);
		for (size_t k = 0; k < sizeof(i->fingerprint); k++)
			buf_addf(out, "%02x", i->fingerprint[k]);
		buf_adds(out, "\"}\n");
		return;
	}
	buf_addf(out, "%-20s %-8s %c %10s %10s  uid %-6u used %s ago", i->id[0] ? i->id : "(no id)",
		state_text(i), i->leased ? 'L' : '-', size_text(i->length, a),
		size_text(i->bytes_on_disk, b), (unsigned)i->uid,
		i->used_ns ? age_text(now_ns, i->used_ns, c) : "?");
	if (i->expires_ns)
		buf_addf(out, ", expires in %s", age_text(i->expires_ns, now_ns, c));
	buf_addc(out, '\n');
}
