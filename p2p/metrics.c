/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/metrics.h"

#include <inttypes.h>
#include <sys/utsname.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "p2p/histogram.h"
#include "p2p/labels.h"
#include "p2p/vortex/client.h"

#define TASK_TYPE "2" /* PERSISTENT_CACHE */

static void one(struct buf *out, const char *name, const char *kind, const char *help,
	const char *labels, uint64_t v)
{
	if (help)
		buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
	buf_addf(out, "%s%s %" PRIu64 "\n", name, labels, v);
}

static void by_label(struct buf *out, const struct labels *l, enum labels_count count,
	const char *name, const char *kind, const char *help, const char *more)
{
	buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
	labels_format(l, count, name, TASK_TYPE, more, out);
}

#define THEIRS(n) "dragonfly_client_" n
#define OURS(n)   "dfcachefiles_" n

static void format_theirs(const struct metrics *m, struct buf *b)
{
	const struct exports_stats *e = &m->exports;
	struct utsname u;

	if (uname(&u) == 0)
		buf_addf(b,
			"# HELP " THEIRS("version") " build of the daemon\n# TYPE " THEIRS(
				"version") " gauge\n" THEIRS("version") "{git_version=\"%s\",git_commit="
									"\"\",platform=\"%s\",build_time=\"\"} 1\n",
			"dfcachefiles/" VERSION, u.machine);
	/* tasks that were uploaded are imports */
	by_label(b, m->imports_by_label, LABELS_BEGUN, THEIRS("upload_task_total"), "counter",
		"imports begun", "");
	by_label(b, m->imports_by_label, LABELS_FAILED, THEIRS("upload_task_failure_total"),
		"counter", "imports that failed", "");
	by_label(b, m->imports_by_label, LABELS_RUNNING, THEIRS("concurrent_upload_task_total"),
		"gauge", "imports running", "");
	by_label(b, m->exports_by_label, LABELS_BEGUN, THEIRS("download_task_total"), "counter",
		"exports and replications begun", ",priority=\"0\"");
	by_label(b, m->exports_by_label, LABELS_FAILED, THEIRS("download_task_failure_total"),
		"counter", "exports and replications that failed", ",priority=\"0\"");
	by_label(b, m->exports_by_label, LABELS_RUNNING, THEIRS("concurrent_download_task_total"),
		"gauge", "exports and replications running", ",priority=\"0\"");
	one(b, THEIRS("concurrent_upload_piece_total"), "gauge", "pieces being sent", "",
		m->vortex.n_sending);
	one(b, THEIRS("download_traffic"), "counter", "bytes by source", "{type=\"REMOTE_PEER\"}",
		m->fetches.bytes);
	one(b, THEIRS("download_traffic"), "counter", NULL, "{type=\"LOCAL_PEER\"}",
		e->bytes_local);
	one(b, THEIRS("upload_traffic"), "counter", "bytes of pieces sent", "",
		m->vortex.bytes_sent);
	one(b, THEIRS("disk_space_total"), "gauge", "bytes of the cache's file system", "",
		m->disk_total);
	one(b, THEIRS("disk_usage_space_total"), "gauge", "bytes of it that an import may not take",
		"", m->disk_total - m->disk_available);
	histogram_format(m->import_ms, THEIRS("upload_task_duration_milliseconds"),
		"task_type=\"" TASK_TYPE "\",", b);
	histogram_format(m->export_ms, THEIRS("download_task_duration_milliseconds"),
		"task_type=\"" TASK_TYPE "\",", b);
}

static void format_ours(const struct metrics *m, struct buf *b)
{
	const struct scheduler_stats *s = &m->scheduler;

	one(b, OURS("store_ready"), "gauge", "1 while cachefilesd answers", "", m->store_is_ready);
	one(b, OURS("tasks"), "gauge", "complete copies here", "", m->n_tasks);
	one(b, OURS("fetches_running"), "gauge", "tasks being fetched", "", m->fetches.n_running);
	one(b, OURS("fetches_total"), "counter", "tasks fetched, by outcome", "{outcome=\"done\"}",
		m->fetches.n_done);
	one(b, OURS("fetches_total"), "counter", NULL, "{outcome=\"stalled\"}",
		m->fetches.n_stalled);
	one(b, OURS("fetches_total"), "counter", NULL, "{outcome=\"failed\"}",
		m->fetches.n_failed - m->fetches.n_stalled);
	one(b, OURS("parents_lost_total"), "counter", "parents given up in mid-transfer", "",
		m->fetches.n_parents_lost);
	buf_adds(b, "# HELP " OURS(
			    "piece_failures_total") " pieces that failed at a parent, by cause\n"
						    "# TYPE " OURS(
							    "piece_failures_total") " counter\n");
	for (unsigned o = VORTEX_REFUSED; o < VORTEX_CANCELLED; o++)
		if (o != VORTEX_BUSY)
			buf_addf(b, OURS("piece_failures_total") "{cause=\"%s\"} %" PRIu64 "\n",
				vortex_outcome_name((enum vortex_outcome)o),
				m->fetches.n_piece_failures[o]);
	one(b, OURS("pieces_without_digest_total"), "counter",
		"pieces that came from a parent without a digest: checked by their length alone",
		"", m->fetches.n_undigested);
	one(b, OURS("exports_placed_total"), "counter", "outputs, by how they were made",
		"{how=\"reflink\"}", m->exports.n_reflinked);
	one(b, OURS("exports_placed_total"), "counter", NULL, "{how=\"copy\"}",
		m->exports.n_copied);
	one(b, OURS("exports_placed_total"), "counter", NULL, "{how=\"hardlink\"}",
		m->exports.n_linked);
	one(b, OURS("imports_reflinked_total"), "counter",
		"imports that shared their source's blocks", "", m->imports.n_reflinked);
	one(b, OURS("upload_connections"), "gauge", "connections to the piece server", "",
		m->vortex.n_connections);
	one(b, OURS("upload_waiting"), "gauge", "pieces asked for that wait for a slot", "",
		m->vortex.n_waiting);
	one(b, OURS("upload_busy_total"), "counter", "children told to come back", "",
		m->vortex.n_busy);
	one(b, OURS("pieces_forwarded_total"), "counter",
		"pieces passed on while they arrived, by how that ended", "{outcome=\"sent\"}",
		m->serve.n_forwarded);
	one(b, OURS("pieces_forwarded_total"), "counter", NULL, "{outcome=\"lost\"}",
		m->serve.n_forward_lost);
	one(b, OURS("upload_dropped_total"), "counter", "children dropped", "",
		m->vortex.n_dropped);
	if (!m->has_scheduler)
		return;
	one(b, OURS("peers"), "gauge", "other peers known", "", s->n_peers);
	one(b, OURS("peers_live"), "gauge", "other peers heard of within the heartbeat", "",
		s->n_peers_live);
	one(b, OURS("scheduler_tasks"), "gauge", "tasks that this peer schedules", "",
		s->n_tasks_owned);
	one(b, OURS("scheduler_tombstones"), "gauge", "deleted ids that are remembered", "",
		s->n_tombstones);
	one(b, OURS("replicas_missing"), "gauge",
		"counted replicas that the tasks scheduled here lack", "", s->n_missing);
	one(b, OURS("repairs_running"), "gauge", "replications under way, asked for here", "",
		s->n_repairs);
	one(b, OURS("repairs_total"), "counter", "replications ended, by outcome",
		"{outcome=\"done\"}", s->n_repairs_done);
	one(b, OURS("repairs_total"), "counter", NULL, "{outcome=\"failed\"}", s->n_repairs_failed);
	one(b, OURS("conflicts_total"), "counter", "ids that were found with two contents", "",
		s->n_conflicts);
}

void metrics_format(const struct metrics *m, struct buf *out)
{
	format_theirs(m, out);
	format_ours(m, out);
}
