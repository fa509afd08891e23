/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/path.h"
#include "dfcache/commands.h"
#include "dfcache/output.h"
#include "dfcache/tree.h"

#define NS ((uint64_t)1000000000)

struct export
{
	struct session s;
	struct export_job job;
	struct progress progress;
	struct timespec started;
};

/* validate - as the documented tool does: the output's directory must be one, the output must not be
 * there (a dangling link counts as not there) */
static int validate(struct export *ex, const struct cli *c, const char *output)
{
	struct failure *f = &ex->s.failure;
	const char *slash = strrchr(output, '/');
	_cleanup_free_ char *parent =
		slash == output ? strdup("/") : strndup(output, (size_t)(slash - output));
	const char *typed = cli_text(c, "output");
	struct stat st;

	if (!parent)
		return failure_set(f, EXIT_FAILED, NULL, "out of memory");
	if (!slash[1])
		return failure_set(f, EXIT_INVALID, NULL,
			"validate failed: output path %s is a directory", typed);
	if (stat(parent, &st) < 0 || !S_ISDIR(st.st_mode))
		return failure_set(f, EXIT_INVALID, "make the directory first",
			"validate failed: output path %s is not a directory", parent);
	if (!cli_flag(c, "overwrite") && stat(output, &st) == 0)
		return failure_set(f, EXIT_EXISTS, "give --overwrite to replace it",
			"validate failed: output path %s already exists", typed);
	if (cli_flag(c, "transfer-from-dfdaemon") && cli_flag(c, "force-hard-link"))
		return failure_set(f, EXIT_INVALID, NULL,
			"validate failed: --transfer-from-dfdaemon writes a file of your own, which "
			"cannot be a hard link: give one of the two");
	if (cli_flag(c, "recursive") && cli_text(c, "digest"))
		return failure_set(f, EXIT_INVALID, NULL,
			"validate failed: --digest is of one file, not of a tree");
	if (!cli_number(c, "timeout"))
		return failure_set(
			f, EXIT_INVALID, NULL, "validate failed: timeout must be longer than 0s");
	return 0;
}

static void tick(void *arg)
{
	progress_draw(arg);
}

static void on_done(struct export_job *j)
{
	struct session *s = j->owner;

	s->failure = j->failure;
	j->failure = (struct failure){0};
}

static int export_one(struct export *ex)
{
	ex->job.done = on_done;
	ex->job.owner = &ex->s;
	ex->job.progress = &ex->progress;
	export_start(ex->s.client, &ex->job);
	client_run(ex->s.client, ex->progress.is_on ? tick : NULL, &ex->progress);
	return (int)ex->s.failure.status;
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void print_result(const struct export *ex, const struct tree_result *tree, bool json)
{
	const struct export_job *j = &ex->job;
	_cleanup_buf_ struct buf b = {0};

	if (!json) {
		puts(j->output);
		return;
	}
	buf_addc(&b, '{');
	output_json_text(&b, true, "id", j->id);
	output_json_text(&b, false, "path", j->output);
	if (tree) {
		output_json_number(&b, false, "files", tree->n_files);
		output_json_number(&b, false, "bytes", tree->bytes);
	} else {
		output_json_number(&b, false, "content_length", j->length);
		output_json_text(&b, false, "placed", j->placed);
	}
	output_json_number(&b, false, "bytes_local", ex->progress.view.local_bytes);
	output_json_number(&b, false, "bytes_peers", ex->progress.view.peer_bytes);
	output_json_number(&b, false, "peers", ex->progress.view.n_peers);
	buf_addf(&b, ", \"seconds\": %.3f}\n", seconds_since(&ex->started));
	fputs(buf_str(&b), stdout);
}

/* last_line - what stays on the terminal: how much, from where, and how it was made */
static void last_line(const struct export *ex, bool is_tree, struct buf *out)
{
	struct progress_view v = ex->progress.view;
	_cleanup_buf_ struct buf how = {0};
	size_t width = progress_width();

	v.verb = "";
	v.total = v.rate = v.files_total = 0;
	v.elapsed_ns = (uint64_t)(seconds_since(&ex->started) * 1e9);
	if (!is_tree)
		buf_addf(&how, " by %s", ex->job.placed);
	buf_adds(out, "Done: ");
	progress_format(&v, width > how.len + out->len ? width - how.len - out->len : 0, out);
	buf_adds(out, buf_str(&how));
}

int export_run(struct cli *c)
{
	struct export ex = {0};
	_cleanup_free_ char *output = path_absolute(cli_text(c, "output"));
	bool is_tree = cli_flag(c, "recursive");
	struct tree_result tree = {0};
	_cleanup_buf_ struct buf last = {0};
	char what[160];
	int r = session_begin(&ex.s, c);

	if (r)
		return r;
	clock_gettime(CLOCK_MONOTONIC, &ex.started);
	snprintf(what, sizeof(what), "export of %.128s", c->args[0]);
	ex.job = (struct export_job){.id = c->args[0],
		.output = output,
		.overwrite = cli_flag(c, "overwrite"),
		.mode = cli_flag(c, "transfer-from-dfdaemon") ? EXPORT_CONTENT
			: cli_flag(c, "force-hard-link")      ? EXPORT_HARD_LINK
							      : EXPORT_DESCRIPTOR,
		.tag = cli_text(c, "tag"),
		.application = cli_text(c, "application"),
		.digest = cli_text(c, "digest"),
		.timeout_ns = cli_number(c, "timeout"),
		.progress = &ex.progress};
	r = output ? validate(&ex, c, output)
		   : failure_set(&ex.s.failure, exit_from_errno(errno), NULL, "%s: %s",
			     cli_text(c, "output"), strerror(errno));
	progress_begin(&ex.progress, !r && !cli_flag(c, "no-progress"), "Exporting");
	if (r == 0)
		r = is_tree ? tree_export(&ex.s, &ex.job, &ex.progress, &tree) : export_one(&ex);
	if (r == 0)
		last_line(&ex, is_tree, &last);
	progress_end(&ex.progress, r == 0 ? buf_str(&last) : NULL);
	if (r == 0)
		print_result(&ex, is_tree ? &tree : NULL, cli_flag(c, "json"));
	return session_end(&ex.s, what);
}
