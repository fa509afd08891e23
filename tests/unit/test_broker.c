/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_broker.c — the messages; and, as root, real callers of every kind at real sockets: what they
 * may not open the broker does not open for them */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/path.h"
#include "common/rpc/rpc.h"
#include "p2p/broker/caller.h"
#include "p2p/broker/proto.h"
#include "p2p/broker/serve.h"

#define USER  12345
#define GROUP 12345
#define TEAM  23456

/* ---- messages ------------------------------------------------------------------------------ */

static void request_round_trip(void **state)
{
	uint8_t b[BROKER_REQUEST_MAX];
	struct broker_request rq;
	size_t n = broker_request_encode(b, sizeof(b), BROKER_LINK, true, "/a/b");

	assert_int_equal(n, 12);
	assert_int_equal(broker_request_parse(b, n, &rq), 0);
	assert_int_equal(rq.operation, BROKER_LINK);
	assert_true(rq.overwrite);
	assert_string_equal(rq.path, "/a/b");
	for (size_t i = 0; i < n; i++)
		assert_int_equal(broker_request_parse(b, i, &rq), -EBADMSG);
	assert_int_equal(broker_request_encode(b, 5, BROKER_LINK, true, "/a/b"), 0);
}

static void request_refuses(void **state)
{
	static const struct {
		enum broker_operation o;
		const char *path;
	} bad[] = {{BROKER_OPEN_SOURCE, "relative"}, {BROKER_OPEN_SOURCE, ""}, {BROKER_PLACE, "/x"},
		{(enum broker_operation)0, "/x"}, {(enum broker_operation)5, "/x"}};
	uint8_t b[BROKER_REQUEST_MAX];
	struct broker_request rq;
	char longest[BROKER_PATH_MAX + 2];
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		n = broker_request_encode(b, sizeof(b), bad[i].o, false, bad[i].path);
		assert_int_equal(broker_request_parse(b, n, &rq), -EBADMSG);
	}
	n = broker_request_encode(b, sizeof(b), BROKER_OPEN_SOURCE, false, "/a/b");
	b[9] = 0; /* a NUL inside the path: another file than the one that was checked? */
	assert_int_equal(broker_request_parse(b, n, &rq), -EBADMSG);
	memset(longest, '/', sizeof(longest));
	longest[BROKER_PATH_MAX + 1] = '\0';
	assert_int_equal(
		broker_request_encode(b, sizeof(b), BROKER_OPEN_SOURCE, false, longest), 0);
	longest[BROKER_PATH_MAX] = '\0';
	n = broker_request_encode(b, sizeof(b), BROKER_OPEN_SOURCE, false, longest);
	assert_int_equal(n, sizeof(b));
	assert_int_equal(broker_request_parse(b, n, &rq), 0);
	assert_string_equal(rq.path, longest);
}

static void reply_round_trip(void **state)
{
	uint8_t b[BROKER_REPLY_MAX];
	struct broker_reply re;
	size_t n = broker_reply_encode(b, sizeof(b), 7, "no");

	assert_int_equal(broker_reply_parse(b, n, &re), 0);
	assert_int_equal(re.status, 7);
	assert_string_equal(re.text, "no");
	for (size_t i = 0; i < n; i++)
		assert_int_equal(broker_reply_parse(b, i, &re), -EBADMSG);
}

/* ---- the world: a directory, a listening socket, callers ----------------------------------- */

struct world {
	char dir[64];
	int listener;
	struct sockaddr_un sa;
};

struct who {
	uid_t uid;
	gid_t gid;
	gid_t group; /* supplementary, 0 = none */
	mode_t umask;
	int unshare;
	bool in_chroot, without_caps, with_caps;
};

struct client {
	pid_t pid;
	int sock; /* our end */
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return -1;
	strcpy(w->dir, "/tmp/test_broker.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(chmod(w->dir, 0755), 0);
	w->sa.sun_family = AF_UNIX;
	snprintf(w->sa.sun_path, sizeof(w->sa.sun_path), "%s/door", w->dir);
	w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(w->listener, (struct sockaddr *)&w->sa, sizeof(w->sa)), 0);
	assert_int_equal(chmod(w->sa.sun_path, 0666), 0);
	assert_int_equal(listen(w->listener, 8), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	close(w->listener);
	int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(path_remove_tree(tmp, strrchr(w->dir, '/') + 1, NULL), 0);
	close(tmp);
	free(w);
	return 0;
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static const char *at(const struct world *w, const char *name)
{
	static char path[4][256];
	static unsigned i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", w->dir, name);
	return path[i];
}

static void put(const struct world *w, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	int fd = open(at(w, name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, name, strlen(name)), 0);
	assert_int_equal(fchown(fd, uid, gid), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void put_dir(const struct world *w, const char *name, uid_t uid, mode_t mode)
{
	assert_int_equal(mkdir(at(w, name), 0700), 0);
	assert_int_equal(chown(at(w, name), uid, uid), 0);
	assert_int_equal(chmod(at(w, name), mode), 0);
}

static int be(const struct world *w, const struct who *me)
{
	struct sockaddr_un sa = w->sa;

	umask(me->umask);
	/* the user namespace is made after the change of uid, as an ordinary user does it */
	if ((me->unshare & ~CLONE_NEWUSER) && unshare(me->unshare & ~CLONE_NEWUSER) < 0)
		return -1;
	if (me->in_chroot) {
		if (chroot(w->dir) < 0 || chdir("/") < 0)
			return -1;
		strcpy(sa.sun_path, "/door");
	}
	if (me->with_caps)
		prctl(PR_SET_KEEPCAPS, 1);
	if (setgroups(me->group ? 1 : 0, &me->group) < 0 ||
		setresgid(me->gid, me->gid, me->gid) < 0 ||
		setresuid(me->uid, me->uid, me->uid) < 0)
		return -1;
	/* a change of uid clears it; exec, which a real caller has done since, sets it again */
	prctl(PR_SET_DUMPABLE, 1);
	/* a test that fails does not end its callers */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if ((me->unshare & CLONE_NEWUSER) && unshare(CLONE_NEWUSER) < 0)
		return -1;
	if (me->without_caps) {
		cap_t none = cap_init();

		if (cap_set_proc(none) < 0)
			return -1;
		cap_free(none);
	}
	if (me->with_caps) {
		const cap_value_t v = CAP_DAC_OVERRIDE;
		cap_t caps = cap_get_proc();

		if (cap_set_flag(caps, CAP_EFFECTIVE, 1, &v, CAP_SET) < 0 || cap_set_proc(caps) < 0)
			return -1;
		cap_free(caps);
	}
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	return connect(s, (struct sockaddr *)&sa, sizeof(sa));
}

/* a process of its own that connects and then waits to be killed */
static struct client client(const struct world *w, struct who me)
{
	struct client c = {.pid = fork()};
	struct pollfd p = {.fd = w->listener, .events = POLLIN};

	if (c.pid == 0) {
		if (be(w, &me) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(poll(&p, 1, 10000), 1);
	c.sock = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(c.sock >= 0);
	return c;
}

static void client_end(struct client *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	c->sock = fd_close(c->sock);
}

/* ---- a broker in a process of its own, as main.c makes it ---------------------------------- */

struct task {
	pid_t pid;
	int conn;
	struct broker_reply re;
	int fd;
};

static void receive(struct task *t)
{
	uint8_t b[BROKER_REPLY_MAX];
	struct pollfd p = {.fd = t->conn, .events = POLLIN};
	int fds[FD_PASS_MAX];
	size_t n_fds;
	ssize_t n;

	assert_int_equal(poll(&p, 1, 10000), 1);
	n = fd_recv(t->conn, b, sizeof(b), fds, &n_fds, 0);
	memset(&t->re, 0, sizeof(t->re));
	t->fd = -1;
	if (n <= 0) {
		t->re.status = UINT32_MAX;
		return;
	}
	assert_int_equal(broker_reply_parse(b, (size_t)n, &t->re), 0);
	assert_in_range(n_fds, 0, 1);
	if (n_fds)
		t->fd = fds[0];
	assert_true(n_fds == 0 || t->re.status == RPC_OK);
}

static struct task broker(uid_t as)
{
	struct task t = {.fd = -1};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	t.pid = fork();
	if (t.pid == 0) {
		int quiet = open("/dev/null", O_WRONLY);

		dup2(quiet, 2);
		close(pair[0]);
		if (as && (setgroups(0, NULL) < 0 || setresgid(as, as, as) < 0 ||
				  setresuid(as, as, as) < 0))
			_exit(2);
		if (caller_limit() < 0)
			_exit(3);
		_exit(broker_serve(pair[1]) < 0 ? 1 : 0);
	}
	close(pair[1]);
	t.conn = pair[0];
	return t;
}

static struct task ask_as(
	uid_t as, int sock, enum broker_operation o, bool overwrite, const char *path, int data)
{
	struct task t = broker(as);
	uint8_t b[BROKER_REQUEST_MAX];
	size_t n = broker_request_encode(b, sizeof(b), o, overwrite, path);
	const int fds[] = {sock, data};

	assert_int_equal(fd_send(t.conn, b, n, fds, data >= 0 ? 2 : 1, 0), n);
	receive(&t);
	return t;
}

static struct task ask(int sock, enum broker_operation o, bool overwrite, const char *path)
{
	return ask_as(0, sock, o, overwrite, path, -1);
}

static void place(struct task *t)
{
	uint8_t b[BROKER_REQUEST_MAX];
	size_t n = broker_request_encode(b, sizeof(b), BROKER_PLACE, false, "");

	assert_int_equal(fd_send(t->conn, b, n, NULL, 0, 0), n);
	receive(t);
}

static int task_end(struct task *t)
{
	int status = -1;

	t->fd = fd_close(t->fd);
	t->conn = fd_close(t->conn);
	waitpid(t->pid, &status, 0);
	return status;
}

/* the refusal has this status and its sentence these words */
static void refused(struct task t, uint32_t status, const char *words)
{
	if (t.re.status != status || !strstr(t.re.text, words))
		fail_msg("status %u \"%s\", expected %u \"%s\"", t.re.status, t.re.text, status,
			words);
	assert_int_equal(t.fd, -1);
	task_end(&t);
}

static void reads(struct task t, const char *content)
{
	char b[64] = "";

	if (t.re.status != RPC_OK)
		fail_msg("status %u \"%s\"", t.re.status, t.re.text);
	assert_true(fd_read_full(t.fd, b, sizeof(b) - 1) >= 0);
	assert_string_equal(b, content);
	assert_true(write(t.fd, "x", 1) < 0);
	assert_int_equal(task_end(&t), 0);
}

static const struct who user = {.uid = USER, .gid = GROUP, .umask = 022};
static const struct who root = {.umask = 022};

/* ---- sources ------------------------------------------------------------------------------- */

static void source_needs_the_callers_rights(void **state)
{
	struct world *w = *state;
	struct client c;

	need_root();
	put(w, "mine", USER, GROUP, 0600);
	put(w, "roots", 0, 0, 0600);
	put(w, "public", 0, 0, 0644);
	put_dir(w, "closed", 0, 0700);
	put(w, "closed/inside", 0, 0, 0644);
	assert_int_equal(symlink(at(w, "mine"), at(w, "link")), 0);
	assert_int_equal(symlink(at(w, "roots"), at(w, "trick")), 0);
	c = client(w, user);
	reads(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "mine")), "mine");
	reads(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "public")), "public");
	reads(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "link")), "mine");
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "roots")), RPC_PERMISSION_DENIED,
		"permission denied (opened as uid 12345)");
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "trick")), RPC_PERMISSION_DENIED,
		"permission denied");
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "closed/inside")),
		RPC_PERMISSION_DENIED, "permission denied");
	/* what this process itself could read: its own memory, its own maps, as whoever */
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, "/etc/shadow"), RPC_PERMISSION_DENIED,
		"permission denied");
	client_end(&c);
}

static void source_is_a_regular_file(void **state)
{
	struct world *w = *state;
	struct client c;

	need_root();
	assert_int_equal(mkfifo(at(w, "fifo"), 0666), 0);
	c = client(w, user);
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "fifo")), RPC_INVALID_ARGUMENT,
		"not a regular file");
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, "/dev/zero"), RPC_INVALID_ARGUMENT,
		"not a regular file");
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, w->dir), RPC_INVALID_ARGUMENT,
		"is a directory");
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "nothing")), RPC_NOT_FOUND,
		"does not exist");
	client_end(&c);
}

static void supplementary_group_counts(void **state)
{
	struct world *w = *state;
	struct who member = user;
	struct client c;

	need_root();
	put(w, "team", 0, TEAM, 0640);
	c = client(w, user);
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "team")), RPC_PERMISSION_DENIED,
		"permission denied");
	client_end(&c);
	member.group = TEAM;
	c = client(w, member);
	reads(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "team")), "team");
	client_end(&c);
}

static void root_has_what_it_has(void **state)
{
	struct world *w = *state;
	struct who weak = root;
	struct client c;

	need_root();
	put(w, "users", USER, GROUP, 0600);
	c = client(w, root);
	reads(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "users")), "users");
	client_end(&c);
	weak.without_caps = true;
	c = client(w, weak);
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "users")), RPC_PERMISSION_DENIED,
		"permission denied");
	client_end(&c);
}

/* what a user's process can do now may be the doing of a set-uid program that it became since */
static void capabilities_of_others_do_not_count(void **state)
{
	struct world *w = *state;
	struct who strong = user;
	struct client c;

	need_root();
	put(w, "roots", 0, 0, 0600);
	strong.with_caps = true;
	c = client(w, strong);
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "roots")), RPC_PERMISSION_DENIED,
		"permission denied");
	client_end(&c);
}

/* ---- another view of the files ------------------------------------------------------------- */

static void refused_view(const struct world *w, struct who me, const char *words)
{
	struct client c = client(w, me);
	struct task t = ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "public"));

	assert_non_null(strstr(t.re.text, "descriptor"));
	refused(t, RPC_PERMISSION_DENIED, words);
	client_end(&c);
}

static void another_view_is_refused(void **state)
{
	struct world *w = *state;
	struct who me;

	need_root();
	put(w, "public", 0, 0, 0644);
	me = root;
	me.unshare = CLONE_NEWNS;
	refused_view(w, me, "another mount namespace");
	me.unshare = CLONE_NEWUSER;
	refused_view(w, me, "another user namespace");
	me = root;
	me.in_chroot = true;
	refused_view(w, me, "another root directory");
	me = user;
	me.unshare = CLONE_NEWNS;
	refused_view(w, me, "another mount namespace");
	me.unshare = CLONE_NEWUSER;
	refused_view(w, me, "another user namespace");
	me = user;
	me.in_chroot = true;
	refused_view(w, me, "another root directory");
}

static void ended_caller_is_refused(void **state)
{
	struct world *w = *state;
	struct client c;

	need_root();
	put(w, "public", 0, 0, 0644);
	c = client(w, user);
	kill(c.pid, SIGKILL);
	waitpid(c.pid, NULL, 0);
	refused(ask(c.sock, BROKER_OPEN_SOURCE, false, at(w, "public")), RPC_PERMISSION_DENIED,
		"has ended");
	close(c.sock);
}

static void not_a_client_socket(void **state)
{
	struct world *w = *state;
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	refused(ask(tcp, BROKER_OPEN_SOURCE, false, at(w, "door")), RPC_PERMISSION_DENIED,
		"who asks for this path is not known");
	refused(ask(file, BROKER_OPEN_SOURCE, false, at(w, "door")), RPC_PERMISSION_DENIED,
		"who asks for this path is not known");
	close(tcp);
	close(file);
}

/* ---- outputs ------------------------------------------------------------------------------- */

static unsigned count_entries(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void output_is_the_callers(void **state)
{
	struct world *w = *state;
	struct who me = user;
	struct client c;
	struct task t;
	struct stat st;

	need_root();
	put_dir(w, "home", USER, 0755);
	me.umask = 027;
	c = client(w, me);
	t = ask(c.sock, BROKER_OPEN_OUTPUT, false, at(w, "home/out"));
	assert_int_equal(t.re.status, RPC_OK);
	assert_int_equal(fd_write_full(t.fd, "new", 3), 0);
	assert_int_equal(count_entries(at(w, "home")), 0);
	place(&t);
	assert_int_equal(t.re.status, RPC_OK);
	assert_int_equal(task_end(&t), 0);
	assert_int_equal(stat(at(w, "home/out"), &st), 0);
	assert_int_equal(st.st_uid, USER);
	assert_int_equal(st.st_gid, GROUP);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_size, 3);

	refused(ask(c.sock, BROKER_OPEN_OUTPUT, false, at(w, "home/out")), RPC_ALREADY_EXISTS,
		"already exists");
	t = ask(c.sock, BROKER_OPEN_OUTPUT, true, at(w, "home/out"));
	assert_int_equal(t.re.status, RPC_OK);
	assert_int_equal(fd_write_full(t.fd, "newer", 5), 0);
	place(&t);
	assert_int_equal(t.re.status, RPC_OK);
	assert_int_equal(task_end(&t), 0);
	assert_int_equal(stat(at(w, "home/out"), &st), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(count_entries(at(w, "home")), 1);
	client_end(&c);
}

static void output_needs_the_callers_rights(void **state)
{
	struct world *w = *state;
	struct client c;

	need_root();
	put_dir(w, "roots", 0, 0755);
	put_dir(w, "home", USER, 0755);
	put_dir(w, "home/sub", USER, 0755);
	assert_int_equal(symlink(at(w, "roots/x"), at(w, "home/link")), 0);
	c = client(w, user);
	refused(ask(c.sock, BROKER_OPEN_OUTPUT, false, at(w, "roots/out")), RPC_PERMISSION_DENIED,
		"permission denied");
	refused(ask(c.sock, BROKER_OPEN_OUTPUT, true, at(w, "home/link")), RPC_PERMISSION_DENIED,
		"permission denied");
	refused(ask(c.sock, BROKER_OPEN_OUTPUT, false, at(w, "home/none/out")),
		RPC_FAILED_PRECONDITION, "directory does not exist");
	refused(ask(c.sock, BROKER_OPEN_OUTPUT, true, at(w, "home/sub")), RPC_INVALID_ARGUMENT,
		"is a directory");
	refused(ask(c.sock, BROKER_OPEN_OUTPUT, true, "/dev/null"), RPC_INVALID_ARGUMENT,
		"not a regular file");
	client_end(&c);
}

static void abandoned_output_leaves_nothing(void **state)
{
	struct world *w = *state;
	struct client c;
	struct task t;

	need_root();
	put_dir(w, "home", USER, 0755);
	c = client(w, user);
	t = ask(c.sock, BROKER_OPEN_OUTPUT, false, at(w, "home/out"));
	assert_int_equal(t.re.status, RPC_OK);
	assert_int_equal(fd_write_full(t.fd, "new", 3), 0);
	assert_int_equal(task_end(&t), 0);
	assert_int_equal(count_entries(at(w, "home")), 0);
	/* somebody else made the name meanwhile */
	t = ask(c.sock, BROKER_OPEN_OUTPUT, false, at(w, "home/out"));
	put(w, "home/out", USER, GROUP, 0600);
	place(&t);
	refused(t, RPC_ALREADY_EXISTS, "already exists");
	assert_int_equal(count_entries(at(w, "home")), 1);
	client_end(&c);
}

/* ---- links --------------------------------------------------------------------------------- */

static struct task ask_link(struct client *c, bool overwrite, const char *path, int data)
{
	return ask_as(0, c->sock, BROKER_LINK, overwrite, path, data);
}

static void link_of_anothers_file(void **state)
{
	struct world *w = *state;
	_cleanup_fd_ int data = -1;
	struct client c;
	struct task t;
	struct stat st;

	need_root();
	put_dir(w, "home", USER, 0755);
	put_dir(w, "roots", 0, 0755);
	put_dir(w, "sticky", 0, 01777);
	put(w, "data", 0, 0, 0444);
	data = open(at(w, "data"), O_RDONLY | O_CLOEXEC);
	c = client(w, user);
	t = ask_link(&c, false, at(w, "home/out"), data);
	assert_string_equal(t.re.text, "");
	assert_int_equal(t.re.status, RPC_OK);
	task_end(&t);
	assert_int_equal(stat(at(w, "home/out"), &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_uid, 0);
	refused(ask_link(&c, false, at(w, "roots/out"), data), RPC_PERMISSION_DENIED,
		"permission denied");
	/* again: it is one already */
	t = ask_link(&c, false, at(w, "home/out"), data);
	assert_int_equal(t.re.status, RPC_OK);
	task_end(&t);
	put(w, "home/other", USER, GROUP, 0600);
	refused(ask_link(&c, false, at(w, "home/other"), data), RPC_ALREADY_EXISTS,
		"already exists");
	t = ask_link(&c, true, at(w, "home/other"), data);
	assert_int_equal(t.re.status, RPC_OK);
	task_end(&t);
	assert_int_equal(fstat(data, &st), 0);
	assert_int_equal(st.st_nlink, 3);
	assert_int_equal(count_entries(at(w, "home")), 2);
	/* in a sticky directory a link may be made, but what is there is never lost half way */
	put(w, "sticky/mine", USER, GROUP, 0600);
	refused(ask_link(&c, true, at(w, "sticky/mine"), data), RPC_PERMISSION_DENIED,
		"not permitted");
	assert_int_equal(count_entries(at(w, "sticky")), 1);
	refused(ask_link(&c, false, "/dev/shm/test_broker_link", data), RPC_FAILED_PRECONDITION,
		"hard link");
	client_end(&c);
}

static void link_of_plain_files_only(void **state)
{
	static const struct {
		mode_t mode;
		int flags;
	} bad[] = {{04755, O_RDONLY}, {02755, O_RDONLY}, {0644, O_RDWR}, {0644, O_PATH}};
	struct world *w = *state;
	struct client c;

	need_root();
	put_dir(w, "home", USER, 0755);
	c = client(w, user);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char name[16];
		int fd;

		snprintf(name, sizeof(name), "f%zu", i);
		put(w, name, 0, 0, bad[i].mode);
		fd = open(at(w, name), bad[i].flags | O_CLOEXEC);
		assert_true(fd >= 0);
		refused(ask_link(&c, false, at(w, "home/out"), fd), RPC_INVALID_ARGUMENT,
			"only a plain file");
		close(fd);
	}
	client_end(&c);
}

/* ---- the broker of an ordinary user -------------------------------------------------------- */

static void unprivileged_broker_is_its_user(void **state)
{
	struct world *w = *state;
	struct who other = user;
	struct client c;

	need_root();
	put(w, "mine", USER, GROUP, 0600);
	c = client(w, user);
	reads(ask_as(USER, c.sock, BROKER_OPEN_SOURCE, false, at(w, "mine"), -1), "mine");
	client_end(&c);
	other.uid = USER + 1;
	c = client(w, other);
	refused(ask_as(USER, c.sock, BROKER_OPEN_SOURCE, false, at(w, "mine"), -1),
		RPC_PERMISSION_DENIED, "descriptor");
	client_end(&c);
	c = client(w, root);
	refused(ask_as(USER, c.sock, BROKER_OPEN_SOURCE, false, at(w, "mine"), -1),
		RPC_PERMISSION_DENIED, "descriptor");
	client_end(&c);
}

/* ---- nonsense ------------------------------------------------------------------------------ */

static void nonsense_ends_the_connection(void **state)
{
	struct task t = broker(0);

	assert_int_equal(send(t.conn, "hello", 5, 0), 5);
	receive(&t);
	assert_int_equal(t.re.status, UINT32_MAX);
	assert_int_equal(WEXITSTATUS(task_end(&t)), 1);
	/* a request without its descriptor */
	t = broker(0);
	uint8_t b[64];
	size_t n = broker_request_encode(b, sizeof(b), BROKER_OPEN_SOURCE, false, "/etc/passwd");

	assert_int_equal(send(t.conn, b, n, 0), n);
	receive(&t);
	assert_int_equal(t.re.status, UINT32_MAX);
	assert_int_equal(WEXITSTATUS(task_end(&t)), 1);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_round_trip),
		cmocka_unit_test(request_refuses),
		cmocka_unit_test(reply_round_trip),
		WORLD_TEST(source_needs_the_callers_rights),
		WORLD_TEST(source_is_a_regular_file),
		WORLD_TEST(supplementary_group_counts),
		WORLD_TEST(root_has_what_it_has),
		WORLD_TEST(capabilities_of_others_do_not_count),
		WORLD_TEST(another_view_is_refused),
		WORLD_TEST(ended_caller_is_refused),
		WORLD_TEST(not_a_client_socket),
		WORLD_TEST(output_is_the_callers),
		WORLD_TEST(output_needs_the_callers_rights),
		WORLD_TEST(abandoned_output_leaves_nothing),
		WORLD_TEST(link_of_anothers_file),
		WORLD_TEST(link_of_plain_files_only),
		WORLD_TEST(unprivileged_broker_is_its_user),
		cmocka_unit_test(nonsense_ends_the_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
