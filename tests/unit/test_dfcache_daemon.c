/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dfcache_daemon.c — the whole of dfcache against daemons of two kinds that this test plays: one
 * that takes our descriptors, one that knows only paths; and against both when they fail or lie */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/loop.h"
#include "common/num.h"
#include "common/path.h"
#include "common/rpc/pbc.h"
#include "common/rpc/rpc.h"
#include "dfcache/commands.h"
#include "dfcache/exit.h"
#include "p2p/api/dfcachefiles.pb-c.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/methods.h"

#define PIECE     (4u << 20)
#define MAX_TASKS 256

/* ---- the daemon that is played ------------------------------------------------------------- */

struct stored {
	char id[16];
	uint8_t *p;
	size_t n;
};

struct daemon {
	bool is_ours;
	struct stored tasks[MAX_TASKS];
	size_t n;
	unsigned n_stats;
};

static void finish_with_task(struct rpc_call *call, const struct stored *t, uint64_t replicas)
{
	Common__V2__PersistentCacheTask m = COMMON__V2__PERSISTENT_CACHE_TASK__INIT;
	Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
	_cleanup_buf_ struct buf b = {0};

	ttl.seconds = 3600;
	m.id = (char *)t->id;
	m.persistent_replica_count = 2;
	m.current_persistent_replica_count = replicas;
	m.content_length = t->n;
	m.piece_length = PIECE;
	m.state = (char *)"Succeeded";
	m.ttl = &ttl;
	pbc_pack(&m.base, &b);
	rpc_call_send(call, b.data, b.len);
	rpc_call_finish(call, RPC_OK, NULL);
}

static void on_upload(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfdaemon__V2__UploadPersistentCacheTaskRequest *rq =
		pbc_unpack(&dfdaemon__v2__upload_persistent_cache_task_request__descriptor, p, n);
	struct daemon *d = service;
	struct stored *t = &d->tasks[d->n];
	_cleanup_buf_ struct buf b = {0};
	const char *index = rpc_call_metadata(call, META_SOURCE_FD);
	int fd = d->is_ours && index ? rpc_call_take_fd(call, (unsigned)atoi(index))
				     : open(rq->path, O_RDONLY | O_CLOEXEC);
	char path[64];

	if (rq->tag && !strcmp(rq->tag, "full")) {
		rpc_call_finish(
			call, RPC_RESOURCE_EXHAUSTED, "no space left on device: wanted 1 GiB");
	} else if (fd < 0 || d->n == MAX_TASKS) {
		rpc_call_finish(call, RPC_INTERNAL, "cannot open");
	} else {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (fd_read_file(AT_FDCWD, path, 1 << 30, &b) == 0) {
			snprintf(t->id, sizeof(t->id), "%u", digest_crc32(0, b.data, b.len));
			t->n = b.len;
			t->p = buf_take(&b, NULL);
			d->n++;
			finish_with_task(call, t, 1);
		}
	}
	fd_close(fd);
	protobuf_c_message_free_unpacked(&rq->base, NULL);
}

static void send_started(struct rpc_call *call, uint64_t length)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskResponse m =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Dfdaemon__V2__DownloadPersistentCacheTaskStartedResponse s =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE__INIT;
	_cleanup_buf_ struct buf b = {0};

	s.content_length = length;
	m.response_case =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE;
	m.download_persistent_cache_task_started_response = &s;
	pbc_pack(&m.base, &b);
	rpc_call_send(call, b.data, b.len);
}

static void send_piece(struct rpc_call *call, uint32_t number, uint64_t offset, const uint8_t *p,
	size_t n, bool with_content, const char *parent, uint32_t crc_error)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskResponse m =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Dfdaemon__V2__DownloadPieceFinishedResponse f =
		DFDAEMON__V2__DOWNLOAD_PIECE_FINISHED_RESPONSE__INIT;
	Common__V2__Piece piece = COMMON__V2__PIECE__INIT;
	_cleanup_buf_ struct buf b = {0};
	char digest[32];

	snprintf(digest, sizeof(digest), "crc32:%u", digest_crc32(0, p, n) + crc_error);
	piece.number = number;
	piece.offset = offset;
	piece.length = n;
	piece.digest = digest;
	piece.parent_id = (char *)parent;
	piece.has_content = with_content;
	piece.content = (ProtobufCBinaryData){n, (uint8_t *)p};
	f.piece = &piece;
	m.response_case =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PIECE_FINISHED_RESPONSE;
	m.download_piece_finished_response = &f;
	pbc_pack(&m.base, &b);
	rpc_call_send(call, b.data, b.len);
}

static void serve(struct daemon *d, struct rpc_call *call, const struct stored *t,
	const Dfdaemon__V2__DownloadPersistentCacheTaskRequest *rq)
{
	const char *index = rpc_call_metadata(call, META_OUTPUT_FD);
	int fd = -1;

	send_started(call, t->n);
	for (size_t at = 0; at < t->n; at += PIECE)
		send_piece(call, (uint32_t)(at / PIECE), at, t->p + at,
			t->n - at < PIECE ? t->n - at : PIECE, rq->need_piece_content,
			at / PIECE % 2 ? "a-parent" : "", 0);
	if (d->is_ours && index) {
		fd = rpc_call_take_fd(call, (unsigned)atoi(index));
		if (strcmp(rq->tag, "lie") != 0)
			assert_int_equal(fd_pwrite_full(fd, t->p, t->n, 0), 0);
		rpc_call_trailer(call, META_PLACED, "copy");
	} else if (rq->output_path) {
		fd = open(rq->output_path,
			O_WRONLY | O_CREAT | O_CLOEXEC | (rq->overwrite ? O_TRUNC : O_EXCL), 0600);
		if (fd < 0 || fd_write_full(fd, t->p, t->n) < 0) {
			rpc_call_finish(call, RPC_INTERNAL, "output path %s is already exists",
				rq->output_path);
			return;
		}
	}
	fd_close(fd);
	rpc_call_finish(call, RPC_OK, NULL);
}

static void on_download(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskRequest *rq =
		pbc_unpack(&dfdaemon__v2__download_persistent_cache_task_request__descriptor, p, n);
	static const uint8_t bytes[200] = {1, 2, 3};
	struct daemon *d = service;
	const char *id = rq->task_id;
	size_t i = 0;

	while (i < d->n && strcmp(d->tasks[i].id, id) != 0)
		i++;
	if (i < d->n) {
		serve(d, call, &d->tasks[i], rq);
	} else if (!strcmp(id, "hang")) {
		send_started(call, 100);
	} else if (!strcmp(id, "short") || !strcmp(id, "twice") || !strcmp(id, "damaged") ||
		   !strcmp(id, "outside")) {
		send_started(call, 200);
		send_piece(call, 0, !strcmp(id, "outside") ? 150 : 0, bytes, 100, true, "",
			!strcmp(id, "damaged"));
		if (!strcmp(id, "twice"))
			send_piece(call, 0, 0, bytes, 100, true, "", 0);
		rpc_call_finish(call, RPC_OK, NULL);
	} else if (!strcmp(id, "damage-there")) {
		rpc_call_finish(call, RPC_DATA_LOSS, "piece 3 does not match");
	} else if (!strcmp(id, "wrapped")) {
		rpc_call_finish(call, RPC_INTERNAL,
			"code: 'Some requested entity was not found', message: \"gone\"");
	} else {
		rpc_call_finish(call, RPC_NOT_FOUND, "persistent cache task %s not found", id);
	}
	protobuf_c_message_free_unpacked(&rq->base, NULL);
}

static void on_stat(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfdaemon__V2__StatPersistentCacheTaskRequest *rq =
		pbc_unpack(&dfdaemon__v2__stat_persistent_cache_task_request__descriptor, p, n);
	struct daemon *d = service;
	size_t i = 0;

	while (i < d->n && strcmp(d->tasks[i].id, rq->task_id) != 0)
		i++;
	if (i < d->n)
		/* the second replica is there when asked for the third time */
		finish_with_task(call, &d->tasks[i], ++d->n_stats >= 3 ? 2 : 1);
	else
		rpc_call_finish(
			call, RPC_NOT_FOUND, "persistent cache task %s not found", rq->task_id);
	protobuf_c_message_free_unpacked(&rq->base, NULL);
}

static void on_list(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	struct daemon *d = service;

	for (size_t i = 0; i < d->n; i++) {
		Dfcachefiles__V1__ListResponse m = DFCACHEFILES__V1__LIST_RESPONSE__INIT;
		Dfcachefiles__V1__Task t = DFCACHEFILES__V1__TASK__INIT, *one = &t;
		char *note = (char *)"what node5 schedules is missing";
		_cleanup_buf_ struct buf b = {0};

		t.id = d->tasks[i].id;
		t.state = (char *)"complete";
		t.content_length = d->tasks[i].n;
		t.piece_count = t.pieces_present = 1;
		t.tag = (char *)"quo\"te";
		m.n_tasks = 1;
		m.tasks = &one;
		m.n_notes = 1;
		m.notes = &note;
		pbc_pack(&m.base, &b);
		rpc_call_send(call, b.data, b.len);
	}
	rpc_call_finish(call, RPC_OK, NULL);
}

static void on_remove(struct rpc_call *call, void *service, const uint8_t *p, size_t n)
{
	Dfcachefiles__V1__RemoveResponse m = DFCACHEFILES__V1__REMOVE_RESPONSE__INIT;
	Dfcachefiles__V1__RemoveRequest *rq =
		pbc_unpack(&dfcachefiles__v1__remove_request__descriptor, p, n);
	_cleanup_buf_ struct buf b = {0};

	if (!strcmp(rq->id, "theirs")) {
		rpc_call_finish(call, RPC_PERMISSION_DENIED, "task theirs belongs to uid 5");
	} else {
		m.removed = 2;
		pbc_pack(&m.base, &b);
		rpc_call_send(call, b.data, b.len);
		rpc_call_finish(call, RPC_OK, NULL);
	}
	protobuf_c_message_free_unpacked(&rq->base, NULL);
}

static void run_daemon(int listener, bool is_ours)
{
	static const struct rpc_method methods[] = {
		{.path = METHOD_LOCAL_UPLOAD, .on_message = on_upload},
		{.path = METHOD_LOCAL_DOWNLOAD, .on_message = on_download},
		{.path = METHOD_LOCAL_STAT, .on_message = on_stat},
		{.path = METHOD_LOCAL_LIST, .on_message = on_list},
		{.path = METHOD_LOCAL_REMOVE, .on_message = on_remove},
	};
	struct daemon d = {.is_ours = is_ours};
	/* the other kind has no methods of ours */
	struct rpc_service service = {methods, is_ours ? ARRAY_SIZE(methods) : 3, &d};
	struct rpc_server *s;
	struct loop *l;

	if (loop_new(&l, &loop_backend_epoll, 1) < 0 ||
		rpc_server_new(&s, l, &listener, 1, &service, 1, &rpc_limits_default) < 0)
		_exit(1);
	loop_run(l);
	_exit(1);
}

/* ---- the world ----------------------------------------------------------------------------- */

struct world {
	char dir[64], door[96];
	pid_t daemon;
	int status;
	struct buf out, err;
};

static int setup_kind(void **state, bool is_ours)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct world *w = calloc(1, sizeof(*w));
	pid_t parent = getpid();
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(w->dir, "/tmp/test_dfcache.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->door, sizeof(w->door), "%s/door", w->dir);
	strcpy(sa.sun_path, w->door);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 64), 0);
	w->daemon = fork();
	if (w->daemon == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		run_daemon(listener, is_ours);
	}
	close(listener);
	*state = w;
	return 0;
}

static int setup(void **state)
{
	return setup_kind(state, true);
}

static int setup_other(void **state)
{
	return setup_kind(state, false);
}

static int teardown(void **state)
{
	struct world *w = *state;

	kill(w->daemon, SIGKILL);
	waitpid(w->daemon, NULL, 0);
	buf_fini(&w->out);
	buf_fini(&w->err);
	int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(path_remove_tree(tmp, strrchr(w->dir, '/') + 1, NULL), 0);
	close(tmp);
	free(w);
	return 0;
}

static const char *at(const struct world *w, const char *name)
{
	static char path[4][256];
	static unsigned i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", w->dir, name);
	return path[i];
}

static pid_t start(struct world *w, const char *const *words)
{
	char *argv[24] = {(char *)"dfcache"};
	int argc = 1;
	pid_t pid;

	for (; *words; words++)
		argv[argc++] = (char *)*words;
	if (strcmp(argv[1], "config") != 0) {
		argv[argc++] = (char *)"--endpoint";
		argv[argc++] = w->door;
		argv[argc++] = (char *)"--log-dir=";
	}
	pid = fork();
	if (pid == 0) {
		int out = open(at(w, ".out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
		int err = open(at(w, ".err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

		unsetenv("DFCACHE_CONFIG");
		dup2(out, 1);
		dup2(err, 2);
		exit(dfcache_main(argc, argv));
	}
	return pid;
}

static void finish(struct world *w, pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	w->status = WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
	buf_fini(&w->out);
	buf_fini(&w->err);
	assert_int_equal(fd_read_file(AT_FDCWD, at(w, ".out"), 1 << 20, &w->out), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, at(w, ".err"), 1 << 20, &w->err), 0);
	unlink(at(w, ".out"));
	unlink(at(w, ".err"));
}

static void run(struct world *w, const char *const *words)
{
	finish(w, start(w, words));
}

#define RUN(w, ...) run((w), (const char *const[]){__VA_ARGS__, NULL})

static void ends(struct world *w, int status, const char *words)
{
	if (w->status != status || !strstr(buf_str(&w->err), words))
		fail_msg("exit %d: %s\nexpected %d, \"%s\"", w->status, buf_str(&w->err), status,
			words);
	assert_string_equal(buf_str(&w->out), "");
}

static void prints(struct world *w, const char *text)
{
	if (w->status != 0 || strcmp(buf_str(&w->out), text) != 0)
		fail_msg("exit %d: %s%s\nexpected %s", w->status, buf_str(&w->out),
			buf_str(&w->err), text);
	assert_string_equal(buf_str(&w->err), "");
}

static void put(struct world *w, const char *name, size_t n)
{
	_cleanup_fd_ int fd = open(at(w, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	uint32_t v = (uint32_t)n + 1;

	for (size_t i = 0; i < n; i += 4096) {
		uint32_t block[1024];
		size_t k = n - i < 4096 ? n - i : 4096;

		for (size_t j = 0; j < 1024; j++)
			block[j] = v = v * 1664525u + 1013904223u;
		assert_int_equal(fd_write_full(fd, block, k), 0);
	}
}

static void same(struct world *w, const char *a, const char *b)
{
	_cleanup_buf_ struct buf x = {0}, y = {0};

	assert_int_equal(fd_read_file(AT_FDCWD, at(w, a), 1 << 26, &x), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, at(w, b), 1 << 26, &y), 0);
	assert_int_equal(x.len, y.len);
	assert_true(!x.len || !memcmp(x.data, y.data, x.len));
}

static bool exists(struct world *w, const char *name)
{
	return access(at(w, name), F_OK) == 0;
}

static unsigned count(struct world *w, const char *name)
{
	_cleanup_dir_ DIR *d = opendir(at(w, name));
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	return n - 2;
}

/* import @name; its id, without the newline */
static const char *import(struct world *w, const char *name)
{
	static char id[64];

	RUN(w, "import", at(w, name));
	assert_int_equal(w->status, 0);
	snprintf(id, sizeof(id), "%s", buf_str(&w->out));
	assert_int_equal(id[strlen(id) - 1], '\n');
	id[strlen(id) - 1] = '\0';
	return id;
}

/* ---- one file ------------------------------------------------------------------------------ */

static void there_and_back(void **state)
{
	static const size_t sizes[] = {0, 1, PIECE, PIECE + 1, 3 * PIECE - 7};
	struct world *w = *state;

	assert_int_equal(mkdir(at(w, "to"), 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char in[16], out[32], line[300];
		const char *id;

		snprintf(in, sizeof(in), "in%zu", i);
		put(w, in, sizes[i]);
		id = import(w, in);
		for (int content = 0; content < 2; content++) {
			struct stat st;

			snprintf(out, sizeof(out), "to/out%zu-%d", i, content);
			snprintf(line, sizeof(line), "%s\n", at(w, out));
			if (content)
				RUN(w, "export", id, "-O", at(w, out), "--transfer-from-dfdaemon");
			else
				RUN(w, "export", id, "-O", at(w, out));
			prints(w, line);
			same(w, in, out);
			assert_int_equal(stat(at(w, out), &st), 0);
			assert_int_equal(st.st_mode & 0777, 0644);
		}
	}
	assert_int_equal(count(w, "to"), 2 * ARRAY_SIZE(sizes));
}

static void zeros_become_holes(void **state)
{
	struct world *w = *state;
	_cleanup_fd_ int fd = open(at(w, "in"), O_WRONLY | O_CREAT, 0644);
	struct stat st;

	assert_int_equal(ftruncate(fd, 3 * PIECE), 0);
	assert_int_equal(fd_pwrite_full(fd, "x", 1, PIECE + 5000), 0);
	RUN(w, "export", import(w, "in"), "-O", at(w, "out"), "--transfer-from-dfdaemon");
	assert_int_equal(w->status, 0);
	same(w, "in", "out");
	assert_int_equal(stat(at(w, "out"), &st), 0);
	assert_true(st.st_blocks * 512 <= 65536);
}

static void overwrite_or_not(void **state)
{
	struct world *w = *state;
	const char *id;

	put(w, "in", 1000);
	put(w, "out", 10);
	id = import(w, "in");
	RUN(w, "export", id, "-O", at(w, "out"));
	ends(w, EXIT_EXISTS, "already exists");
	RUN(w, "export", id, "-O", at(w, "out"), "--overwrite");
	assert_int_equal(w->status, 0);
	same(w, "in", "out");
	RUN(w, "export", id, "-O", at(w, "none/out"));
	ends(w, EXIT_INVALID, "is not a directory");
	RUN(w, "export", id, "-O", w->dir, "--overwrite");
	ends(w, EXIT_INVALID, "Is a directory");
}

static void digest_decides(void **state)
{
	struct world *w = *state;
	char digest[64];
	const char *id;

	put(w, "in", 1000);
	id = import(w, "in");
	RUN(w, "export", id, "-O", at(w, "out"), "--digest", "crc32:1", "--transfer-from-dfdaemon");
	ends(w, EXIT_CORRUPT, "digest mismatch expected: crc32:1, actual: crc32:");
	assert_false(exists(w, "out"));
	/* the id of such a task is its crc32 */
	snprintf(digest, sizeof(digest), "crc32:%s", id);
	RUN(w, "export", id, "-O", at(w, "out"), "--digest", digest, "--transfer-from-dfdaemon");
	assert_int_equal(w->status, 0);
	same(w, "in", "out");
}

static void a_lie_is_no_output(void **state)
{
	struct world *w = *state;

	put(w, "in", 1000);
	RUN(w, "export", import(w, "in"), "-O", at(w, "out"), "--tag", "lie");
	ends(w, EXIT_CORRUPT, "has not its length");
	assert_false(exists(w, "out"));
}

static void half_is_nothing(void **state)
{
	static const struct {
		const char *id, *words;
	} bad[] = {
		{"short", "100 of 200 bytes"},
		{"twice", "100 of 200 bytes"},
		{"damaged", "digest mismatch: piece 0"},
		{"outside", "outside the file"},
		{"damage-there", "piece 3 does not match"},
	};
	struct world *w = *state;

	assert_int_equal(mkdir(at(w, "to"), 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		RUN(w, "export", bad[i].id, "-O", at(w, "to/out"), "--transfer-from-dfdaemon");
		ends(w, EXIT_CORRUPT, bad[i].words);
		assert_int_equal(count(w, "to"), 0);
	}
}

static void exit_statuses(void **state)
{
	struct world *w = *state;

	RUN(w, "export", "nothing", "-O", at(w, "out"));
	ends(w, EXIT_NOT_FOUND, "task nothing not found");
	RUN(w, "export", "wrapped", "-O", at(w, "out"));
	ends(w, EXIT_NOT_FOUND, "Some requested entity was not found");
	RUN(w, "stat", "nothing");
	ends(w, EXIT_NOT_FOUND, "stat of nothing failed");
	RUN(w, "export", "hang", "-O", at(w, "out"), "--timeout", "200ms");
	ends(w, EXIT_TIMEOUT, "--timeout");
	assert_false(exists(w, "out"));
	put(w, "in", 10);
	RUN(w, "import", at(w, "in"), "--tag", "full");
	ends(w, EXIT_NO_SPACE, "no space left on device");
	RUN(w, "rm", "theirs");
	ends(w, EXIT_DENIED, "belongs to uid 5");
	RUN(w, "import", at(w, "in"), "--ttl", "59s");
	ends(w, EXIT_INVALID, "ttl must be between 1 minute and 7 days");
	RUN(w, "import", at(w, "in"), "--ttl", "8d");
	ends(w, EXIT_INVALID, "ttl must be between 1 minute and 7 days");
	RUN(w, "import", at(w, "in"), "--piece-length", "4M");
	ends(w, EXIT_INVALID,
		"piece length 4000000 bytes is less than the minimum piece length 4194304 bytes");
	RUN(w, "import", w->dir);
	ends(w, EXIT_INVALID, "is a directory");
	RUN(w, "import", at(w, "none"));
	ends(w, EXIT_NOT_FOUND, "does not exist");
	RUN(w, "import", "/dev/null");
	ends(w, EXIT_INVALID, "not a regular file");
	RUN(w, "pin", "1");
	assert_int_equal(w->status, EXIT_INVALID);
	kill(w->daemon, SIGKILL);
	waitpid(w->daemon, NULL, 0);
	RUN(w, "stat", "1");
	ends(w, EXIT_UNAVAILABLE, "is dfdaemon running?");
}

static void an_interrupt_leaves_nothing(void **state)
{
	struct world *w = *state;
	pid_t pid;

	assert_int_equal(mkdir(at(w, "to"), 0755), 0);
	pid = start(w, (const char *const[]){"export", "hang", "-O", at(w, "to/out"), "--console",
			       "-l", "debug", NULL});
	/* until it listens for signals nothing of it is there either, so any moment is right; this
	 * one is when the request is out */
	for (int i = 0; i < 1000; i++) {
		const struct timespec t = {.tv_nsec = 2000000};
		char fds[64];
		_cleanup_dir_ DIR *d = NULL;
		unsigned n = 0;

		snprintf(fds, sizeof(fds), "/proc/%d/fd", (int)pid);
		d = opendir(fds);
		while (d && readdir(d))
			n++;
		if (n > 9)
			break;
		nanosleep(&t, NULL);
	}
	kill(pid, SIGTERM);
	finish(w, pid);
	assert_true(w->status == 128 + SIGTERM || w->status == 256 + SIGTERM);
	assert_int_equal(count(w, "to"), 0);
}

static void waits_for_replicas(void **state)
{
	struct world *w = *state;

	put(w, "in", 10);
	RUN(w, "import", at(w, "in"), "--wait", "--json");
	assert_int_equal(w->status, 0);
	assert_non_null(strstr(buf_str(&w->out), "\"replicas\": 2"));
	RUN(w, "import", at(w, "in"), "--wait", "--persistent-replica-count", "9", "--timeout",
		"1s");
	assert_int_equal(w->status, EXIT_TIMEOUT);
	assert_non_null(strstr(buf_str(&w->err), "2 of 9 replicas"));
	/* the task is there all the same, and a script learns its id */
	assert_true(w->out.len > 1);
}

static void stat_and_ls(void **state)
{
	struct world *w = *state;
	char line[128];
	const char *id;

	put(w, "in", 19);
	id = import(w, "in");
	RUN(w, "stat", id);
	assert_int_equal(w->status, 0);
	snprintf(line, sizeof(line), " %s ", id);
	assert_non_null(strstr(buf_str(&w->out), line));
	assert_non_null(strstr(buf_str(&w->out), " STATE "));
	assert_non_null(strstr(buf_str(&w->out), " 19 B "));
	RUN(w, "stat", id, "--json");
	assert_int_equal(w->status, 0);
	assert_non_null(strstr(buf_str(&w->out), "\"content_length\": 19"));
	RUN(w, "ls");
	assert_int_equal(w->status, 0);
	assert_non_null(strstr(buf_str(&w->out), id));
	RUN(w, "ls", "--json");
	assert_int_equal(w->status, 0);
	assert_non_null(strstr(buf_str(&w->out), "\"tag\": \"quo\\\"te\""));
	assert_null(strstr(buf_str(&w->out), "node5"));
	assert_non_null(strstr(buf_str(&w->err), "warning: what node5 schedules is missing\n"));
	RUN(w, "rm", id, "2");
	snprintf(line, sizeof(line), "%s\n2\n", id);
	prints(w, line);
	RUN(w, "stat", "nothing", "--json");
	assert_int_equal(w->status, EXIT_NOT_FOUND);
	assert_non_null(strstr(buf_str(&w->out), "{\"error\": \"not_found\", \"exit_status\": 4"));
}

/* ---- many files ---------------------------------------------------------------------------- */

static void a_tree(void **state)
{
	struct world *w = *state;
	_cleanup_free_ char *id = NULL;
	struct stat st;

	assert_int_equal(mkdir(at(w, "t"), 0755), 0);
	assert_int_equal(mkdir(at(w, "t/sub dir"), 0700), 0);
	assert_int_equal(mkdir(at(w, "t/empty"), 0755), 0);
	put(w, "t/a", 100);
	put(w, "t/sub dir/b", PIECE + 5);
	put(w, "t/sub dir/c", 0);
	for (int i = 0; i < 30; i++) {
		char name[32];

		snprintf(name, sizeof(name), "t/n%d", i);
		put(w, name, (size_t)i * 10 + 1);
	}
	assert_int_equal(chmod(at(w, "t/a"), 0755), 0);
	assert_int_equal(symlink("sub dir/b", at(w, "t/link")), 0);
	RUN(w, "import", "--recursive", at(w, "t"));
	assert_int_equal(w->status, 0);
	id = strndup(buf_str(&w->out), w->out.len - 1);
	RUN(w, "import", "-r", at(w, "t"));
	assert_memory_equal(buf_str(&w->out), id, strlen(id));

	RUN(w, "export", id, "--recursive", "-O", at(w, "u"), "--json");
	assert_int_equal(w->status, 0);
	assert_non_null(strstr(buf_str(&w->out), "\"files\": 33"));
	same(w, "t/a", "u/a");
	same(w, "t/sub dir/b", "u/sub dir/b");
	same(w, "t/sub dir/c", "u/sub dir/c");
	same(w, "t/n29", "u/n29");
	same(w, "t/link", "u/link");
	assert_int_equal(count(w, "u"), count(w, "t"));
	assert_int_equal(stat(at(w, "u/a"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_int_equal(stat(at(w, "u/sub dir"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(at(w, "u/n3"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);

	RUN(w, "export", id, "--recursive", "-O", at(w, "u"));
	ends(w, EXIT_EXISTS, "already exists");
	put(w, "u/old", 1);
	RUN(w, "export", id, "--recursive", "-O", at(w, "u"), "--overwrite");
	assert_int_equal(w->status, 0);
	assert_false(exists(w, "u/old"));
	/* door, t, u, and no hidden leftovers */
	assert_int_equal(count(w, "."), 3);
}

static void several_paths(void **state)
{
	struct world *w = *state;
	_cleanup_free_ char *id = NULL;

	assert_int_equal(mkdir(at(w, "d"), 0755), 0);
	put(w, "one", 11);
	put(w, "d/two", 22);
	put(w, "d/one", 33);
	RUN(w, "import", at(w, "one"), at(w, "d/two"));
	assert_int_equal(w->status, 0);
	id = strndup(buf_str(&w->out), w->out.len - 1);
	RUN(w, "export", id, "-r", "-O", at(w, "u"));
	assert_int_equal(w->status, 0);
	same(w, "one", "u/one");
	same(w, "d/two", "u/two");
	RUN(w, "import", at(w, "one"), at(w, "d/one"));
	ends(w, EXIT_INVALID, "the same last component \"one\"");
	RUN(w, "import", at(w, "one"), at(w, "missing"));
	ends(w, EXIT_NOT_FOUND, "does not exist");
}

static void a_tree_fails_whole(void **state)
{
	struct world *w = *state;
	const char *id;

	put(w, "plain", 100);
	id = import(w, "plain");
	RUN(w, "export", id, "-r", "-O", at(w, "u"));
	ends(w, EXIT_INVALID, "is no manifest: line 1");
	assert_false(exists(w, "u"));
	/* a manifest of a task that is not there */
	{
		_cleanup_fd_ int fd = open(at(w, "m"), O_WRONLY | O_CREAT, 0644);
		const char *text = "dfcachefiles manifest 1\nd 0755 d\nf 0644 5 gone d/f\n";

		assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
	}
	id = import(w, "m");
	RUN(w, "export", id, "-r", "-O", at(w, "u"));
	ends(w, EXIT_NOT_FOUND, "d/f: persistent cache task gone not found");
	/* door, plain, m */
	assert_int_equal(count(w, "."), 3);
}

/* ---- a daemon that knows only paths -------------------------------------------------------- */

static void other_daemon_takes_paths(void **state)
{
	struct world *w = *state;
	char line[300];
	const char *id;

	put(w, "in", PIECE + 9);
	id = import(w, "in");
	RUN(w, "export", id, "-O", at(w, "out"), "--json");
	assert_int_equal(w->status, 0);
	assert_non_null(strstr(buf_str(&w->out), "\"placed\": \"daemon\""));
	same(w, "in", "out");
	RUN(w, "export", id, "-O", at(w, "out"), "--overwrite");
	snprintf(line, sizeof(line), "%s\n", at(w, "out"));
	prints(w, line);
	same(w, "in", "out");
	RUN(w, "stat", id, "--json");
	assert_int_equal(w->status, 0);
	RUN(w, "ls");
	ends(w, EXIT_INVALID, "this dfdaemon cannot do that");
	put(w, "empty", 0);
	RUN(w, "export", import(w, "empty"), "-O", at(w, "out0"));
	assert_int_equal(w->status, 0);
	same(w, "empty", "out0");
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(there_and_back),
		WORLD_TEST(zeros_become_holes),
		WORLD_TEST(overwrite_or_not),
		WORLD_TEST(digest_decides),
		WORLD_TEST(a_lie_is_no_output),
		WORLD_TEST(half_is_nothing),
		WORLD_TEST(exit_statuses),
		WORLD_TEST(an_interrupt_leaves_nothing),
		WORLD_TEST(waits_for_replicas),
		WORLD_TEST(stat_and_ls),
		WORLD_TEST(a_tree),
		WORLD_TEST(several_paths),
		WORLD_TEST(a_tree_fails_whole),
		cmocka_unit_test_setup_teardown(other_daemon_takes_paths, setup_other, teardown),
	};

	umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
