/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/num.h"
#include "common/utf8.h"
#include "p2p/api/convert.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"

typedef Dfdaemon__V2__UploadPersistentCacheTaskRequest upload_request;
typedef Dfdaemon__V2__DownloadPersistentCacheTaskRequest download_request;
typedef Common__V2__PersistentCacheTask task_message;

#define NS          1000000000ull
#define OUTPUT_MODE 0666 /* less the umask */
#define MAX_PIECES  (1u << 24)

static void set_duration(Google__Protobuf__Duration *d, uint64_t ns)
{
	d->seconds = (int64_t)(ns / NS);
	d->nanos = (int32_t)(ns % NS);
}

/* lossy - @s as protobuf's strings must be: what is no UTF-8 becomes U+FFFD. malloc'd. */
static char *lossy(const char *s)
{
	struct buf b = {0};
	size_t left = strlen(s);

	while (left) {
		size_t n = utf8_sequence((const uint8_t *)s, left);

		if (n)
			buf_add(&b, s, n);
		else
			buf_adds(&b, "\xef\xbf\xbd");
		n = n ? n : 1;
		s += n;
		left -= n;
	}
	buf_addc(&b, '\0');
	return buf_take(&b, NULL);
}

/* add_trace - the environment's traceparent, as programs hand it to those that they start; returns 1
 * or 0. @value: API_TRACE_SIZE bytes */
static size_t add_trace(struct rpc_meta *meta, char *value)
{
	if (!api_parse_traceparent(getenv("TRACEPARENT"), value))
		return 0;
	*meta = (struct rpc_meta){META_TRACE, value};
	return 1;
}

/* ---- import -------------------------------------------------------------------------------- */

static void import_end(struct import_job *j)
{
	j->fd = fd_close(j->fd);
	j->done(j);
}

/* is_plain_id - what may be printed to a terminal and given to a script */
static bool is_plain_id(const char *id)
{
	size_t n = 0;

	for (; id[n]; n++)
		if (n == TASK_ID_MAX || id[n] <= ' ' || id[n] >= 0x7f)
			return false;
	return n > 0;
}

static void on_task(struct call *c, const uint8_t *p, size_t n)
{
	struct import_job *j = container_of(c, struct import_job, call);
	task_message *t = pbc_unpack(&common__v2__persistent_cache_task__descriptor, p, n);

	if (!t || !t->id || !is_plain_id(t->id)) {
		failure_set(&j->failure, EXIT_FAILED,
			"are dfcache and dfdaemon of the same version?",
			"dfdaemon's answer names no task");
	} else {
		strcpy(j->id, t->id);
		j->length = t->content_length;
		j->task_piece_length = t->piece_length;
		j->n_pieces = t->piece_count;
		j->replicas_now = t->current_persistent_replica_count;
	}
	if (t)
		protobuf_c_message_free_unpacked(&t->base, NULL);
}

static void import_done(struct call *c, int status, const char *message)
{
	struct import_job *j = container_of(c, struct import_job, call);
	const char *replicas = call_trailer(c, META_REPLICAS);

	if (status != RPC_OK)
		failure_from_rpc(&j->failure, status, message, client_endpoint(c->client));
	else if (!j->id[0])
		failure_set(&j->failure, EXIT_FAILED, NULL,
			"dfdaemon ended the import without naming a task");
	if (replicas)
		(void)num_u64(replicas, 0, UINT64_MAX, &j->replicas_now, NULL);
	if (j->failure.status == EXIT_OK)
		log_info("imported id=%s path=%s bytes=%" PRIu64 " replicas=%" PRIu64, j->id,
			j->path, j->length, j->replicas_now);
	import_end(j);
}

void import_start(struct client *cl, struct import_job *j)
{
	struct rpc_meta meta[2] = {{META_SOURCE_FD, "0"}};
	char trace[API_TRACE_SIZE];
	upload_request rq = DFDAEMON__V2__UPLOAD_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT, timeout = ttl;
	_cleanup_free_ char *path = lossy(j->path);
	int r = -ENOMEM;

	set_duration(&ttl, j->ttl_ns);
	set_duration(&timeout, j->timeout_ns);
	rq.content_for_calculating_task_id = (char *)j->content_for_id;
	rq.path = path;
	rq.has_persistent_replica_count = true;
	rq.persistent_replica_count = j->replicas;
	rq.tag = (char *)j->tag;
	rq.application = (char *)j->application;
	rq.has_piece_length = j->piece_length != 0;
	rq.piece_length = j->piece_length;
	rq.ttl = &ttl;
	rq.timeout = &timeout;
	j->call = (struct call){.on_message = on_task, .on_done = import_done};
	if (path)
		r = call_start(cl, &j->call, METHOD_LOCAL_UPLOAD, &rq.base, meta,
			1 + add_trace(&meta[1], trace), &j->fd, 1, j->timeout_ns);
	if (r < 0) {
		failure_set(&j->failure, EXIT_FAILED, NULL, "cannot start the import: %s",
			strerror(-r));
		import_end(j);
	}
}

/* ---- export: content that comes over the socket -------------------------------------------- */

static int file_failure(struct export_job *j, int error, const char *what)
{
	const char *hint = NULL;

	if (error == EEXIST)
		hint = "give --overwrite to replace it";
	else if (error == EACCES || error == EPERM)
		hint = "the output is made with your rights, not the daemon's";
	return failure_set(&j->failure, exit_from_errno(error), hint, "%s %s: %s", what, j->output,
		error == EMEDIUMTYPE ? "exists and is not a regular file" : strerror(error));
}

/* first_time - mark piece @number; false when it was marked before. -ENOMEM, -EBADMSG */
static int first_time(struct export_job *j, uint32_t number)
{
	if (number >= MAX_PIECES)
		return -EBADMSG;
	if (number >= j->n_piece_bits) {
		uint64_t bits = ((uint64_t)number + 4096) & ~4095ull;
		uint8_t *more = realloc(j->pieces, bits / 8);

		if (!more)
			return -ENOMEM;
		memset(more + j->n_piece_bits / 8, 0, (bits - j->n_piece_bits) / 8);
		j->pieces = more;
		j->n_piece_bits = bits;
	}
	if (j->pieces[number / 8] & (1u << number % 8))
		return 0;
	j->pieces[number / 8] |= (uint8_t)(1u << number % 8);
	return 1;
}

/* content_begins - of @piece: it must lie within the file */
static void content_begins(struct export_job *j, const Common__V2__Piece *piece, uint64_t n)
{
	int r;

	j->number = piece->number;
	j->crc32 = 0;
	j->content_at = piece->offset;
	if (!j->has_length || n != piece->length || piece->offset > j->length ||
		n > j->length - piece->offset) {
		failure_set(&j->failure, EXIT_CORRUPT, NULL,
			"dfdaemon sent piece %" PRIu32 " of task %s without saying what it is, or "
			"outside the file",
			piece->number, j->id);
		return;
	}
	r = first_time(j, piece->number);
	j->is_new = r > 0;
	if (r < 0)
		file_failure(j, -r, "cannot write");
}

static void content(struct export_job *j, const uint8_t *p, size_t n)
{
	int r = j->is_new ? writer_put(j->call.writer, &j->out, p, n, j->content_at) : 0;

	j->crc32 = digest_crc32(j->crc32, p, n);
	j->content_at += n;
	if (r < 0)
		file_failure(j, -r, "cannot write");
	else if (j->is_new)
		j->received += n;
}

static bool matches_digest(const struct export_job *j, const char *digest)
{
	enum digest_algorithm a;
	char said[DIGEST_TEXT], is[DIGEST_TEXT];

	/* old daemons send none for what they linked; other algorithms are theirs to check */
	if (!digest || digest_parse(digest, &a, said, NULL) < 0 || a != DIGEST_CRC32)
		return true;
	snprintf(is, sizeof(is), "crc32:%" PRIu32, j->crc32);
	return !strcmp(said, is);
}

/* check_content - all of @piece is known now: was it written to where it belongs, and whole? */
static void check_content(struct export_job *j, const Common__V2__Piece *piece, bool has_content)
{
	if (!has_content || piece->number != j->number ||
		piece->offset + piece->length != j->content_at)
		failure_set(&j->failure, EXIT_CORRUPT, NULL,
			"dfdaemon sent piece %" PRIu32 " of task %s without its content",
			piece->number, j->id);
	else if (!matches_digest(j, piece->digest))
		failure_set(&j->failure, EXIT_CORRUPT,
			"export again; `dfcache rm --local` removes the copy on this node",
			"digest mismatch: piece %" PRIu32 " of task %s is damaged", piece->number,
			j->id);
}

/* ---- export: the stream -------------------------------------------------------------------- */

static void on_started(void *arg, uint64_t length)
{
	struct export_job *j = arg;

	if (j->has_length)
		return;
	j->has_length = true;
	j->length = length;
	if (j->progress)
		j->progress->view.total += length;
	if (j->mode == EXPORT_CONTENT && ftruncate(j->file.fd, (off_t)length) < 0)
		file_failure(j, errno, "cannot give its length to");
}

static void on_content_begin(void *arg, const Common__V2__Piece *piece, uint64_t n)
{
	struct export_job *j = arg;

	if (j->mode == EXPORT_CONTENT && j->failure.status == EXIT_OK)
		content_begins(j, piece, n);
}

static void on_content(void *arg, const uint8_t *p, size_t n)
{
	struct export_job *j = arg;

	if (j->mode == EXPORT_CONTENT && j->failure.status == EXIT_OK)
		content(j, p, n);
}

static void on_piece(void *arg, const Common__V2__Piece *p, bool has_content)
{
	struct export_job *j = arg;
	bool has_parent = p->parent_id && *p->parent_id;
	bool is_remote = has_parent || p->traffic_type == COMMON__V2__TRAFFIC_TYPE__REMOTE_PEER;

	if (is_remote)
		j->peer_bytes += p->length;
	else
		j->local_bytes += p->length;
	if (j->progress)
		progress_piece(j->progress, p->length, is_remote, p->parent_id);
	log_debug("piece id=%s number=%" PRIu32 " bytes=%" PRIu64 " parent=%s", j->id, p->number,
		p->length,
		has_parent  ? p->parent_id
		: is_remote ? "?"
			    : "-");
	if (j->mode == EXPORT_CONTENT && j->failure.status == EXIT_OK)
		check_content(j, p, has_content);
}

static void on_part(struct call *c, const uint8_t *p, size_t n, size_t total, size_t at)
{
	static const struct event_handlers handlers = {
		on_started, on_content_begin, on_content, on_piece};
	struct export_job *j = container_of(c, struct export_job, call);
	int r;

	if (j->failure.status != EXIT_OK)
		return;
	r = event_part(&j->events, p, n, total, at, &handlers, j);
	if (r == -ENOMEM)
		failure_set(&j->failure, EXIT_FAILED, NULL, "out of memory");
	else if (r < 0)
		failure_set(&j->failure, EXIT_FAILED,
			"are dfcache and dfdaemon of the same version?",
			"dfdaemon's answer is not a download event");
	if (j->failure.status != EXIT_OK)
		call_cancel(c);
}

/* ---- export: the end ----------------------------------------------------------------------- */

static void check_digest(struct export_job *j)
{
	enum digest_algorithm a;
	char expected[DIGEST_TEXT], actual[DIGEST_TEXT];
	_cleanup_free_ uint8_t *block = malloc(1 << 20);
	struct digest *d;
	ssize_t n = -ENOMEM;

	if (digest_parse(j->digest, &a, expected, NULL) < 0)
		return;
	d = digest_new(a);
	for (uint64_t off = 0; d && block; off += (uint64_t)n) {
		n = fd_pread_full(j->file.fd, block, 1 << 20, off);
		if (n <= 0)
			break;
		digest_update(d, block, (size_t)n);
	}
	if (n < 0) {
		file_failure(j, (int)-n, "cannot read back");
	} else {
		digest_final(d, actual);
		if (strcmp(actual, expected) != 0)
			failure_set(&j->failure, EXIT_CORRUPT,
				"is it the digest of this task's content?",
				"digest mismatch expected: %s, actual: %s", expected, actual);
	}
	digest_free(d);
}

static void place(struct export_job *j)
{
	int r;

	if (j->failure.status != EXIT_OK || j->is_sink)
		return;
	r = regfile_place(&j->file);
	if (r < 0)
		file_failure(j, -r, "cannot make");
}

/* finish_content - all of it arrived; is it right? */
static void finish_content(struct export_job *j)
{
	int r = writer_finish(j->call.writer, &j->out);

	if (r < 0) {
		file_failure(j, -r, "cannot write");
		return;
	}
	if (!j->has_length || j->received != j->length) {
		failure_set(&j->failure, EXIT_CORRUPT, "export again",
			"unknown download incomplete: %" PRIu64 " of %" PRIu64
			" bytes of task %s arrived",
			j->received, j->length, j->id);
		return;
	}
	if (j->digest)
		check_digest(j);
	place(j);
	strcpy(j->placed, "content");
}

static void finish_descriptor(struct export_job *j, const char *placed)
{
	struct stat st;

	if (placed) {
		snprintf(j->placed, sizeof(j->placed), "%s", placed);
		if (fstat(j->file.fd, &st) < 0 || !j->has_length ||
			(uint64_t)st.st_size != j->length)
			failure_set(&j->failure, EXIT_CORRUPT, NULL,
				"dfdaemon says that task %s is written, but the output has not its "
				"length",
				j->id);
		place(j);
		return;
	}
	/* a daemon that does not know our descriptor took the path, which it was told too; then our
	 * file is still empty and is not needed */
	strcpy(j->placed, "daemon");
	if (j->has_length && !j->length && j->file.fd >= 0 && access(j->output, F_OK) < 0) {
		/* nothing to write: either kind of daemon has done all there is to do */
		place(j);
		return;
	}
	if (stat(j->output, &st) < 0 || !S_ISREG(st.st_mode) ||
		(j->has_length && (uint64_t)st.st_size != j->length))
		failure_set(&j->failure, EXIT_FAILED,
			"does dfdaemon see this path? --transfer-from-dfdaemon does without it",
			"dfdaemon ended the export of task %s, but the output %s is not there",
			j->id, j->output);
}

static void export_end(struct export_job *j)
{
	if (j->call.writer)
		writer_finish(j->call.writer, &j->out);
	regfile_fini(&j->file);
	event_reader_fini(&j->events);
	free(j->pieces);
	j->pieces = NULL;
	j->done(j);
}

static void export_done(struct call *c, int status, const char *message)
{
	struct export_job *j = container_of(c, struct export_job, call);
	const char *placed = call_trailer(c, META_PLACED);

	if (j->failure.status != EXIT_OK) {
		/* we ended it, and know why */
	} else if (status != RPC_OK) {
		failure_from_rpc(&j->failure, status, message, client_endpoint(c->client));
	} else if (j->mode == EXPORT_CONTENT) {
		finish_content(j);
	} else if (j->mode == EXPORT_DESCRIPTOR) {
		finish_descriptor(j, placed);
	} else {
		finish_descriptor(j, NULL);
		strcpy(j->placed, "hardlink");
	}
	if (j->failure.status == EXIT_OK)
		log_info("exported id=%s path=%s bytes=%" PRIu64 " placed=%s local=%" PRIu64
			 " peers=%" PRIu64,
			j->id, j->output, j->length, j->placed, j->local_bytes, j->peer_bytes);
	export_end(j);
}

void export_start(struct client *cl, struct export_job *j)
{
	struct rpc_meta meta[2] = {{META_OUTPUT_FD, "0"}};
	char trace[API_TRACE_SIZE];
	size_t n_meta;
	download_request rq = DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	Google__Protobuf__Duration timeout = GOOGLE__PROTOBUF__DURATION__INIT;
	_cleanup_free_ char *path = lossy(j->output);
	bool with_fd = j->mode == EXPORT_DESCRIPTOR;
	int r = 0;

	j->file = (struct regfile_new)REGFILE_NEW_NULL;
	set_duration(&timeout, j->timeout_ns);
	rq.task_id = (char *)j->id;
	rq.tag = (char *)j->tag;
	rq.application = (char *)j->application;
	rq.output_path = j->mode == EXPORT_CONTENT ? NULL : path;
	rq.timeout = &timeout;
	rq.need_piece_content = j->mode == EXPORT_CONTENT;
	rq.force_hard_link = j->mode == EXPORT_HARD_LINK;
	rq.digest = (char *)j->digest;
	rq.overwrite = j->overwrite;
	j->events = (struct event_reader){0};
	j->call = (struct call){.on_part = on_part, .on_done = export_done};
	if (j->is_sink) {
		j->file.fd = fcntl(j->sink, F_DUPFD_CLOEXEC, 3);
		r = j->file.fd < 0 ? -errno : 0;
	} else if (j->mode != EXPORT_HARD_LINK)
		r = regfile_create(&j->file, AT_FDCWD, j->output, OUTPUT_MODE, j->overwrite);
	if (r < 0) {
		file_failure(j, -r, "cannot make");
		export_end(j);
		return;
	}
	j->out = (struct writer_file){.fd = j->file.fd};
	if (j->mode == EXPORT_CONTENT)
		j->call.writer = client_writer(cl);
	n_meta = with_fd ? 1 : 0;
	n_meta += add_trace(&meta[n_meta], trace);
	if (path && (j->mode != EXPORT_CONTENT || j->call.writer))
		r = call_start(cl, &j->call, METHOD_LOCAL_DOWNLOAD, &rq.base, meta, n_meta,
			&j->file.fd, with_fd ? 1 : 0, j->timeout_ns);
	else
		r = -ENOMEM;
	if (r < 0) {
		failure_set(&j->failure, EXIT_FAILED, NULL, "cannot start the export: %s",
			strerror(-r));
		export_end(j);
	}
}
