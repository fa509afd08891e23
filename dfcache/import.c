/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"
#include "common/path.h"
#include "common/regfile.h"
#include "dfcache/commands.h"
#include "dfcache/output.h"
#include "dfcache/tree.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"

#define NS               ((uint64_t)1000000000)
#define PIECE_LENGTH_MIN (4u << 20) /* the daemon's too; here it is refused before the call */
#define TTL_MIN          (60 * NS)
#define TTL_MAX          (7 * 86400 * NS)
#define WAIT_POLL_NS     (250000000l)

struct import {
	struct session s;
	struct import_job job;
	struct progress progress;
	uint64_t started_ns, wanted;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* validate - what the documented tool checks before it asks anybody, in its order and words */
static int validate(struct import *im, const struct cli *c)
{
	uint64_t ttl = cli_number(c, "ttl"), piece = cli_number(c, "piece-length");
	struct failure *f = &im->s.failure;

	if (ttl < TTL_MIN || ttl > TTL_MAX)
		return failure_set(f, EXIT_INVALID, NULL,
			"validate failed: ttl must be between 1 minute and 7 days, but got %s",
			cli_text(c, "ttl"));
	for (unsigned i = 0; i < c->n_args; i++) {
		struct stat st;

		if (stat(c->args[i], &st) < 0)
			return failure_set(f, exit_from_errno(errno), NULL,
				"validate failed: path %s %s", c->args[i],
				errno == ENOENT ? "does not exist" : strerror(errno));
		if (S_ISDIR(st.st_mode) && !cli_flag(c, "recursive"))
			return failure_set(f, EXIT_INVALID,
				"give --recursive to import it with all it contains",
				"validate failed: path %s is a directory", c->args[i]);
	}
	if (cli_value(c, "piece-length")->is_set && piece < PIECE_LENGTH_MIN)
		return failure_set(f, EXIT_INVALID, NULL,
			"validate failed: piece length %" PRIu64
			" bytes is less than the minimum piece length %u bytes",
			piece, PIECE_LENGTH_MIN);
	if (!cli_number(c, "timeout"))
		return failure_set(
			f, EXIT_INVALID, NULL, "validate failed: timeout must be longer than 0s");
	return 0;
}

static void tick(void *arg)
{
	struct import *im = arg;
	off_t at;

	/* the daemon moves the offset of the description that we share as it reads */
	at = im->job.fd >= 0 ? lseek(im->job.fd, 0, SEEK_CUR) : -1;
	if (at >= 0)
		im->progress.view.done = (uint64_t)at;
	progress_draw(&im->progress);
}

static void on_done(struct import_job *j)
{
	struct session *s = j->owner;

	s->failure = j->failure;
	j->failure = (struct failure){0};
}

static int import_one(struct import *im, const char *arg)
{
	_cleanup_free_ char *path = path_absolute(arg);
	struct stat st;

	if (!path)
		return failure_set(
			&im->s.failure, EXIT_FAILED, NULL, "%s: %s", arg, strerror(errno));
	im->job.fd = regfile_open(AT_FDCWD, arg);
	if (im->job.fd < 0) {
		int e = -im->job.fd;

		im->job.fd = -1;
		return failure_set(&im->s.failure, exit_from_errno(e),
			e == EACCES ? "the file is opened with your rights" : NULL,
			"cannot read %s: %s", arg,
			e == EMEDIUMTYPE ? "it is not a regular file" : strerror(e));
	}
	if (fstat(im->job.fd, &st) == 0)
		im->progress.view.total = (uint64_t)st.st_size;
	im->job.path = path;
	im->job.done = on_done;
	im->job.owner = &im->s;
	import_start(im->s.client, &im->job);
	client_run(im->s.client, im->progress.is_on ? tick : NULL, im);
	return (int)im->s.failure.status;
}

/* wait_for_replicas - until all are counted, or the time for the import is over */
static int wait_for_replicas(struct import *im, uint64_t timeout_ns)
{
	const struct timespec pause = {.tv_nsec = WAIT_POLL_NS};
	uint64_t end = im->started_ns + timeout_ns;

	while (im->job.replicas_now < im->wanted) {
		Dfdaemon__V2__StatPersistentCacheTaskRequest rq =
			DFDAEMON__V2__STAT_PERSISTENT_CACHE_TASK_REQUEST__INIT;
		Common__V2__PersistentCacheTask *t;

		if (now_ns() >= end)
			return failure_set(&im->s.failure, EXIT_TIMEOUT,
				"the import itself is done; `dfcache stat` shows the replicas",
				"task %s has %" PRIu64 " of %" PRIu64 " replicas after %s",
				im->job.id, im->job.replicas_now, im->wanted,
				cli_text(im->s.cli, "timeout"));
		rq.task_id = im->job.id;
		t = client_unary(im->s.client, METHOD_LOCAL_STAT, &rq.base,
			&common__v2__persistent_cache_task__descriptor, STAT_TIMEOUT_NS,
			&im->s.failure);
		if (!t)
			return (int)im->s.failure.status;
		im->job.replicas_now = t->current_persistent_replica_count;
		protobuf_c_message_free_unpacked(&t->base, NULL);
		if (im->job.replicas_now < im->wanted)
			nanosleep(&pause, NULL);
	}
	return 0;
}

static void print_result(const struct import *im, const struct tree_result *tree, bool json)
{
	_cleanup_buf_ struct buf b = {0};
	uint64_t ms = (now_ns() - im->started_ns) / 1000000;

	if (!json) {
		puts(im->job.id);
		return;
	}
	buf_addc(&b, '{');
	output_json_text(&b, true, "id", im->job.id);
	output_json_number(&b, false, "content_length", im->job.length);
	output_json_number(&b, false, "piece_length", im->job.task_piece_length);
	output_json_number(&b, false, "piece_count", im->job.n_pieces);
	output_json_number(&b, false, "replicas_wanted", im->wanted);
	output_json_number(&b, false, "replicas", im->job.replicas_now);
	output_json_number(&b, false, "ttl_seconds", im->job.ttl_ns / NS);
	if (tree) {
		output_json_number(&b, false, "files", tree->n_files);
		output_json_number(&b, false, "bytes", tree->bytes);
	}
	buf_addf(&b, ", \"seconds\": %" PRIu64 ".%03u}\n", ms / 1000, (unsigned)(ms % 1000));
	fputs(buf_str(&b), stdout);
}

int import_run(struct cli *c)
{
	struct import im = {.started_ns = now_ns()};
	bool many = c->n_args > 1 || cli_flag(c, "recursive");
	struct tree_result tree = {0};
	char last[TASK_ID_MAX + 32] = "", what[256];
	int r = session_begin(&im.s, c);

	if (r)
		return r;
	im.wanted = cli_number(c, "persistent-replica-count");
	im.job = (struct import_job){.fd = -1,
		.content_for_id = cli_text(c, "content-for-calculating-task-id"),
		.tag = cli_text(c, "tag"),
		.application = cli_text(c, "application"),
		.piece_length = cli_number(c, "piece-length"),
		.replicas = im.wanted,
		.ttl_ns = cli_number(c, "ttl"),
		.timeout_ns = cli_number(c, "timeout")};
	r = validate(&im, c);
	progress_begin(&im.progress, !r && !cli_flag(c, "no-progress"), "Importing");
	if (r == 0)
		r = many ? tree_import(&im.s, c->args, c->n_args, &im.job, &im.progress, &tree)
			 : import_one(&im, c->args[0]);
	if (r == 0)
		/* the words of the documented tool: scripts read the id from the last line */
		snprintf(last, sizeof(last), "%sDone: %s",
			!strcmp(nl_langinfo(CODESET), "UTF-8") ? "\xe2\xa3\xb7 " : "", im.job.id);
	progress_end(&im.progress, r == 0 ? last : NULL);
	if (r == 0 && cli_flag(c, "wait"))
		r = wait_for_replicas(&im, im.job.timeout_ns);
	/* also when the wait was in vain: the task is there */
	if (im.job.id[0] && (r == 0 || !cli_flag(c, "json")))
		print_result(&im, many ? &tree : NULL, cli_flag(c, "json"));
	snprintf(what, sizeof(what), "import of %s%s", c->args[0], c->n_args > 1 ? " …" : "");
	return session_end(&im.s, what);
}
