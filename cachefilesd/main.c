/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main.c — cachefilesd(8): options, configuration, background, door, run.
 *
 * Exit status, as it always was: 0 orderly stop, 1 the system refused something, 2 usage or
 * configuration, 3 an internal error.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cachefilesd/bringup.h"
#include "cachefilesd/config.h"
#include "cachefilesd/culler.h"
#include "cachefilesd/door.h"
#include "cachefilesd/holder.h"
#include "cachefilesd/options.h"
#include "cachefilesd/sandbox.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"
#include "common/privs.h"

enum { EXIT_OK, EXIT_OS, EXIT_USAGE, EXIT_INTERNAL };

struct daemon {
	struct options opt;
	bool is_replacement; /* a new holder, started by a worker that lost its own */
	struct config cfg; /* in force */
	char *config_path; /* absolute: the working directory is / later */
	char *pidfile; /* as opt.pidfile, absolute */
	char *dir; /* absolute */
	int dirfd;
	int ready_fd; /* tells the foreground process that we run; -1 = none */
};

static void say_errno(const char *what, const char *which, int e)
{
	log_err("%s%s%s: errno %d (%s)", what, which ? " " : "", which ? which : "", e,
		strerror(e));
}

/* ---- configuration --------------------------------------------------------------------------- */

static void log_lines(int level, struct buf *b)
{
	char *save = NULL;

	for (char *s = b->data ? strtok_r((char *)b->data, "\n", &save) : NULL; s;
		s = strtok_r(NULL, "\n", &save))
		log_line(level, "%s", s);
}

/* 0 or the exit status */
static int read_config(const char *path, struct config *cfg)
{
	_cleanup_buf_ struct buf text = {0}, errors = {0}, warnings = {0};
	int rc = fd_read_file(AT_FDCWD, path, CONFIG_TEXT_MAX, &text);

	config_defaults(cfg);
	if (rc) {
		say_errno("Unable to open", path, -rc);
		return EXIT_OS;
	}
	rc = config_parse(path, buf_str(&text), text.len, cfg, &errors, &warnings);
	log_lines(LOG_WARNING, &warnings);
	log_lines(LOG_ERR, &errors);
	if (rc < 0)
		say_errno("Unable to read", path, -rc);
	return !rc ? 0 : rc < 0 ? EXIT_OS : EXIT_USAGE;
}

/* the literal name first: it may really end in a blank */
static int open_dir(struct daemon *d)
{
	_cleanup_free_ char *trimmed = strdup(d->cfg.dir);
	size_t n = trimmed ? strlen(trimmed) : 0;

	if (!trimmed)
		return -ENOMEM;
	while (n && (trimmed[n - 1] == ' ' || trimmed[n - 1] == '\t'))
		trimmed[--n] = '\0';
	for (int i = 0; i < 2; i++) {
		const char *path = i ? trimmed : d->cfg.dir;

		d->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (d->dirfd >= 0) {
			d->dir = path_absolute(path);
			return d->dir ? 0 : -ENOMEM;
		}
	}
	return -errno;
}

/* what changed, and what of it must wait for a restart */
static void log_changes(const struct config *old, const struct config *fresh)
{
	size_t n;
	const struct config_word *w = config_words(&n);

	for (size_t i = 0; i < n; i++) {
		_cleanup_buf_ struct buf a = {0}, b = {0};

		config_value(old, w[i].name, &a);
		config_value(fresh, w[i].name, &b);
		if (strcmp(buf_str(&a), buf_str(&b)) == 0)
			continue;
		if (w[i].needs_restart)
			log_warning("reload: a change of %s needs a restart", w[i].name);
		else
			log_notice("reload: %s changed from \"%s\" to \"%s\"", w[i].name,
				buf_str(&a), buf_str(&b));
	}
	if (!old->nokernel && memcmp(&old->limits, &fresh->limits, sizeof(old->limits)))
		log_notice("reload: the new limits count for culling and for the store; the kernel "
			   "keeps those of its bind, too, until a stop and start");
}

static const struct config *reload(void *arg, struct culler *culler)
{
	_cleanup_buf_ struct buf needs_restart = {0};
	struct daemon *d = arg;
	struct culler_config cc;
	struct config fresh;

	if (read_config(d->config_path, &fresh)) {
		log_err("reload: the new configuration has errors, the old one stays file=%s",
			d->config_path);
		config_fini(&fresh);
		return NULL;
	}
	log_changes(&d->cfg, &fresh);
	cc = bringup_culler_config(&fresh, d->dir, d->opt.no_cull);
	if (culler)
		culler_reload(culler, &cc, &needs_restart);
	config_fini(&d->cfg);
	d->cfg = fresh;
	log_notice("configuration read again file=%s", d->config_path);
	return &d->cfg;
}

/* ---- background ------------------------------------------------------------------------------ */

static int write_pidfile(const char *path)
{
	_cleanup_fd_ int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	char text[24];

	if (fd < 0)
		return -errno;
	snprintf(text, sizeof(text), "%d\n", (int)getpid());
	return fd_write_full(fd, text, strlen(text));
}

/* The parent waits until the child runs or failed, so that its exit status tells the truth. */
static int go_background(struct daemon *d)
{
	int p[2], status;
	unsigned char result = EXIT_INTERNAL;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid) {
		close(p[1]);
		if (read(p[0], &result, 1) != 1) {
			waitpid(pid, &status, 0);
			result = WIFEXITED(status) ? (unsigned char)WEXITSTATUS(status)
						   : EXIT_INTERNAL;
		}
		_exit(result);
	}
	close(p[0]);
	d->ready_fd = p[1];
	signal(SIGTTIN, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGTSTP, SIG_IGN);
	setsid();
	return 0;
}

static void report_ready(struct daemon *d)
{
	unsigned char ok = EXIT_OK;
	int null;

	/* what went wrong so far was for the terminal, what comes is for the log */
	if (!d->opt.use_stderr)
		log_open(LOG_SINK_SYSLOG, "cachefilesd", NULL);
	if (d->ready_fd < 0)
		return;
	/* who started us may wait for the end of our output */
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0 && !d->opt.debug)
		dup2(null, STDERR_FILENO);
	fd_close(null);
	(void)!write(d->ready_fd, &ok, 1);
	d->ready_fd = fd_close(d->ready_fd);
}

static void close_inherited(void)
{
	/* systemd's descriptors are adopted, everything else is an accident of who started us */
	if (!getenv("LISTEN_FDS"))
		close_range(3, ~0u, 0);
}

static int null_stdio(void)
{
	_cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	if (fcntl(STDERR_FILENO, F_GETFD) < 0 && dup2(null, STDERR_FILENO) < 0)
		return -errno;
	return 0;
}

/* ---- the daemon ------------------------------------------------------------------------------ */

/* After bind: what is left is for opening the device again when the kernel gave the cache up
 * (SYS_ADMIN), objects of mode 0 and other owners in cache/ and graveyard/ (DAC_OVERRIDE, FOWNER).
 * Without a kernel cache everything we touch is our own and nothing is left. */
static int give_up_rights(const struct daemon *d)
{
	static const cap_value_t kernel[] = {CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_FOWNER};
	int rc;

	if (geteuid() != 0)
		rc = privs_no_new_privs();
	else if (d->cfg.nokernel)
		rc = privs_keep_caps(NULL, 0);
	else
		rc = privs_keep_caps(kernel, ARRAY_SIZE(kernel));
	if (!rc) {
		rc = sandbox_enter();
		if (rc == -ENOSYS)
			log_info("no seccomp filter here, going on without one");
	}
	return rc == -ENOSYS ? 0 : rc;
}

static int start(struct daemon *d, struct holder *h, struct door **door, struct culler **culler)
{
	struct culler_config cc = bringup_culler_config(&d->cfg, d->dir, d->opt.no_cull);
	struct culler_fds fds = {-1, -1, -1, -1};
	char reason[BRINGUP_REASON > DOOR_REASON ? BRINGUP_REASON : DOOR_REASON];
	struct cull_source *tasks;
	struct door_config dc = {.cfg = &d->cfg,
		.dir = d->dir,
		.dirfd = d->dirfd,
		.holder = h,
		.reload = reload,
		.arg = d};
	int rc;

	if (!d->cfg.nokernel) {
		rc = bringup_kernel(&cc, h, d->dirfd, &fds, reason);
		if (rc) {
			log_err("%s", reason);
			return rc;
		}
	} else {
		fds.root = fcntl(d->dirfd, F_DUPFD_CLOEXEC, 3);
	}
	if (!d->cfg.store && !faccessat(d->dirfd, "pieces", F_OK, 0))
		log_warning(
			"pieces/ is there, but the store is off: its tasks occupy space and are "
			"neither served nor culled");
	rc = door_open(door, &dc, reason);
	if (rc) {
		log_err("%s: errno %d (%s)", reason, -rc, strerror(-rc));
		goto close_fds;
	}
	rc = give_up_rights(d);
	if (rc) {
		say_errno("Unable to give up rights", NULL, -rc);
		goto close_fds;
	}
	tasks = door_source(*door);
	rc = culler_start(culler, &cc, fds, &tasks, tasks ? 1 : 0, h);
	if (rc)
		say_errno("Unable to start the culling thread", NULL, -rc);
	return rc;
close_fds:
	fd_close(fds.device);
	fd_close(fds.root);
	fd_close(fds.cache);
	fd_close(fds.graveyard);
	return rc;
}

static int worker(struct holder *h, void *arg)
{
	struct daemon *d = arg;
	struct culler *culler = NULL;
	struct door *door = NULL;
	int rc;

	if (!d->opt.foreground && !d->is_replacement) {
		rc = write_pidfile(d->opt.pidfile);
		if (rc) {
			say_errno("Unable to write", d->opt.pidfile, -rc);
			return EXIT_OS;
		}
	}
	rc = start(d, h, &door, &culler) ? EXIT_OS : EXIT_OK;
	if (!rc) {
		log_notice("Daemon Started");
		report_ready(d);
		rc = door_run(door, culler) ? EXIT_INTERNAL : EXIT_OK;
	}
	door_close(door);
	if (rc == EXIT_OK) {
		if (!d->cfg.nokernel && holder_kind(h) == HOLDER_PROCESS)
			holder_drop(h);
		log_notice("Daemon Terminated");
	} else if (rc == EXIT_INTERNAL) {
		log_err("Internal error: the daemon failed, see above");
	}
	if (!d->opt.foreground)
		unlink(d->opt.pidfile);
	return rc;
}

static int prepare(struct daemon *d)
{
	char *absolute;
	int rc = read_config(d->opt.config, &d->cfg);

	if (rc)
		return rc;
	d->config_path = path_absolute(d->opt.config);
	/* a relative pid file is meant from where we were started */
	absolute = path_absolute(d->opt.pidfile);
	if (!d->config_path || !absolute) {
		free(absolute);
		say_errno("Unable to resolve", d->opt.config, errno);
		return EXIT_OS;
	}
	d->opt.pidfile = d->pidfile = absolute;
	rc = open_dir(d);
	if (rc) {
		log_err("%s:%u:Can't confirm cache location: errno %d (%s)", d->opt.config,
			d->cfg.dir_line, -rc, strerror(-rc));
		return EXIT_OS;
	}
	if (!d->cfg.nokernel) {
		if (geteuid() != 0) {
			log_err("the kernel's cache needs root: without it, the keyword nokernel "
				"manages the piece store alone");
			return EXIT_OS;
		}
	}
	return 0;
}

static enum holder_kind choose_holder(const struct daemon *d)
{
	if (d->is_replacement)
		return HOLDER_PROCESS;
	return d->cfg.nokernel ? HOLDER_NONE : holder_choose();
}

int main(int argc, char **argv)
{
	struct daemon d = {.dirfd = -1, .ready_fd = -1};
	char text[1024];
	int rc;

	switch (options_parse(argc, argv, &d.opt, text)) {
	case OPTIONS_VERSION:
		printf("cachefilesd version %s\n", VERSION);
		return EXIT_OK;
	case OPTIONS_HELP:
		options_usage(text, sizeof(text));
		fputs(text, stderr);
		return EXIT_USAGE;
	case OPTIONS_WRONG:
		fprintf(stderr, "%s\n", text);
		options_usage(text, sizeof(text));
		fputs(text, stderr);
		return EXIT_USAGE;
	case OPTIONS_RUN:
		break;
	}
	d.is_replacement = holder_is_replacement();
	if (!d.is_replacement)
		close_inherited();
	log_open(d.opt.use_stderr || isatty(STDERR_FILENO) ? LOG_SINK_STDERR : LOG_SINK_SYSLOG,
		"cachefilesd", NULL);
	log_set_level(d.opt.debug ? LOG_DEBUG : LOG_INFO);
	rc = null_stdio();
	if (rc) {
		say_errno("Unable to open", "/dev/null", -rc);
		return EXIT_OS;
	}
	/* the daemon is small and lives long: one arena, and memory goes back early */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 64 * 1024);
	umask(022);
	rc = prepare(&d);
	if (!rc && !d.opt.foreground && !d.is_replacement) {
		rc = go_background(&d) ? EXIT_OS : 0;
		if (rc)
			say_errno("Unable to fork", NULL, errno);
	}
	if (!rc && chdir("/"))
		log_warning("cannot leave the working directory reason=%s", strerror(errno));
	if (!rc || d.is_replacement)
		rc = holder_run(argv, choose_holder(&d), worker, &d);
	config_fini(&d.cfg);
	free(d.config_path);
	free(d.pidfile);
	free(d.dir);
	fd_close(d.dirfd);
	return rc;
}
