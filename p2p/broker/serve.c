/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/broker/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/regfile.h"
#include "common/rpc/rpc.h"
#include "p2p/broker/caller.h"
#include "p2p/broker/proto.h"

#define REQUEST_TIMEOUT_S 10
#define OUTPUT_MODE       0666 /* less the caller's umask */

struct task {
	int conn;
	struct broker_request rq;
	int fds[FD_PASS_MAX]; /* the caller's socket; the data of a link */
	size_t n_fds;
	struct caller caller;
	struct regfile_new output;
	int opened;
};

static const char *operation_name(enum broker_operation o)
{
	static const char *const names[] = {"?", "read", "write", "link", "place"};

	return names[o];
}

static int reply(struct task *t, int status, int fd, const char *text)
{
	uint8_t out[BROKER_REPLY_MAX];
	size_t n = broker_reply_encode(out, sizeof(out), (uint32_t)status, text);
	ssize_t r = fd_send(t->conn, out, n, &fd, fd >= 0 ? 1 : 0, MSG_NOSIGNAL);

	/* the caller's own mistakes are one line as well: each is a process of its own, so nothing but
	 * the journal's limits bounds how many there are */
	log_line(status == RPC_PERMISSION_DENIED ? LOG_WARNING : LOG_INFO,
		"broker: %s operation=%s uid=%u gid=%u pid=%d label=%s path=%s status=%d%s%s",
		status == RPC_OK ? "served" : "refused", operation_name(t->rq.operation),
		(unsigned)t->caller.uid, (unsigned)t->caller.gid, (int)t->caller.pid,
		t->caller.label, t->rq.path, status, *text ? " reason=" : "", text);
	return r < 0 ? (int)r : 0;
}

/* answer - the outcome of a system call on the path, as a status and a sentence */
static int answer(struct task *t, int error, int fd)
{
	static const struct {
		int error, status;
		const char *what;
	} known[] = {
		{EACCES, RPC_PERMISSION_DENIED, "permission denied"},
		{EPERM, RPC_PERMISSION_DENIED, "operation not permitted"},
		{EROFS, RPC_FAILED_PRECONDITION, "the file system is read-only"},
		{EEXIST, RPC_ALREADY_EXISTS, "the output path already exists"},
		{EISDIR, RPC_INVALID_ARGUMENT, "is a directory"},
		{EMEDIUMTYPE, RPC_INVALID_ARGUMENT, "is not a regular file"},
		{ELOOP, RPC_INVALID_ARGUMENT, "too many symbolic links"},
		{ENAMETOOLONG, RPC_INVALID_ARGUMENT, "the name is too long"},
		{ENOSPC, RPC_RESOURCE_EXHAUSTED, "no space left on device"},
		{EDQUOT, RPC_RESOURCE_EXHAUSTED, "disk quota exceeded"},
		{EMLINK, RPC_RESOURCE_EXHAUSTED, "too many links to the file"},
		{EXDEV, RPC_FAILED_PRECONDITION,
			"not on the file system (or mount) of the cache, so it cannot be a hard "
			"link of it: export without --force-hard-link"},
		{EOPNOTSUPP, RPC_FAILED_PRECONDITION, "the file system cannot do that"},
	};
	const char *what = strerror(error);
	char text[BROKER_TEXT_MAX + 1];
	int status = RPC_INTERNAL;

	if (error == 0)
		return reply(t, RPC_OK, fd, "");
	if (error == ENOENT || error == ENOTDIR) {
		bool is_source = t->rq.operation == BROKER_OPEN_SOURCE;

		status = is_source ? RPC_NOT_FOUND : RPC_FAILED_PRECONDITION;
		what = is_source ? "does not exist" : "its directory does not exist";
	}
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (known[i].error != error)
			continue;
		status = known[i].status;
		what = known[i].what;
	}
	snprintf(text, sizeof(text), "%s: %s (opened as uid %u)", t->rq.path, what,
		(unsigned)t->caller.uid);
	return reply(t, status, -1, text);
}

static int open_source(struct task *t)
{
	t->opened = regfile_open(AT_FDCWD, t->rq.path);
	return answer(t, t->opened < 0 ? -t->opened : 0, t->opened);
}

static int make_link(struct task *t)
{
	struct stat st;
	int flags = fcntl(t->fds[1], F_GETFL);

	/* what the kernel asks of a link to another's file, as far as it is not the very thing that
	 * CAP_FOWNER is for: nothing but a plain file, and one that could be read */
	if (flags < 0 || fstat(t->fds[1], &st) < 0 || !S_ISREG(st.st_mode) ||
		(st.st_mode & (S_ISUID | S_ISGID)) || (flags & (O_PATH | O_ACCMODE)) != O_RDONLY)
		return reply(t, RPC_INVALID_ARGUMENT, -1,
			"only a plain file that is open for reading can be linked");
	return answer(t,
		-regfile_link(
			t->fds[1], AT_FDCWD, t->rq.path, t->rq.overwrite, caller_raise_fowner),
		-1);
}

/* receive - one request and the descriptors that belong to it (the caller's, also after an error);
 * 1, 0 at the end, -errno */
static int receive(int conn, struct broker_request *rq, int *fds, size_t *n_fds)
{
	uint8_t in[BROKER_REQUEST_MAX + 1];
	ssize_t n = fd_recv(conn, in, sizeof(in), fds, n_fds, 0);

	if (n <= 0)
		return (int)n;
	if (broker_request_parse(in, (size_t)n, rq) < 0 ||
		*n_fds != broker_request_n_fds(rq->operation))
		return -EBADMSG;
	return 1;
}

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = fd_close(fds[i]);
}

/* wait_for_place - for as long as the download takes; the end of the connection is an abort */
static int wait_for_place(struct task *t)
{
	const struct timeval forever = {0};
	struct broker_request rq;
	int fds[FD_PASS_MAX], r;
	size_t n_fds = 0;

	if (setsockopt(t->conn, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever)) < 0)
		return -errno;
	r = receive(t->conn, &rq, fds, &n_fds);
	close_all(fds, n_fds);
	if (r <= 0)
		return r;
	if (rq.operation != BROKER_PLACE)
		return -EBADMSG;
	t->rq.operation = BROKER_PLACE; /* the path stays that of the open */
	return answer(t, -regfile_place(&t->output), -1);
}

static int open_output(struct task *t)
{
	int error = -regfile_create(&t->output, AT_FDCWD, t->rq.path, OUTPUT_MODE, t->rq.overwrite);
	int r = answer(t, error, t->output.fd);

	return r < 0 || error ? r : wait_for_place(t);
}

static int serve(struct task *t)
{
	const struct timeval timeout = {.tv_sec = REQUEST_TIMEOUT_S};
	char why[CALLER_WHY];
	int r;

	if (setsockopt(t->conn, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	r = receive(t->conn, &t->rq, t->fds, &t->n_fds);
	if (r <= 0)
		return r;
	if (t->rq.operation == BROKER_PLACE)
		return -EBADMSG;
	r = caller_identify(&t->caller, t->fds[0], why);
	if (r == 0)
		r = caller_check_view(&t->caller, why);
	if (r == 0)
		r = caller_become(&t->caller, t->rq.operation == BROKER_LINK, why);
	if (r < 0)
		return reply(t, RPC_PERMISSION_DENIED, -1, why);
	switch (t->rq.operation) {
	case BROKER_OPEN_SOURCE:
		return open_source(t);
	case BROKER_OPEN_OUTPUT:
		return open_output(t);
	case BROKER_LINK:
		return make_link(t);
	case BROKER_PLACE:
		break;
	}
	return -EBADMSG;
}

int broker_serve(int conn)
{
	struct task t = {
		.conn = conn, .caller = CALLER_NULL, .output = REGFILE_NEW_NULL, .opened = -1};
	int r = serve(&t);

	regfile_fini(&t.output);
	caller_fini(&t.caller);
	fd_close(t.opened);
	close_all(t.fds, t.n_fds);
	return r;
}
