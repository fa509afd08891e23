// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/lib/fakedev.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/path.h"

/* build/tests/bin/fakedev, seen from build/tests/test_x */
static bool find_program(char *out, size_t cap)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return false;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return false;
	*slash = '\0';
	return snprintf(out, cap, "%s/bin/fakedev", self) < (int)cap && access(out, X_OK) == 0;
}

static bool wait_for_device(struct fakedev *f)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	for (int i = 0; i < 2000; i++) {
		if (access(f->device, F_OK) == 0)
			return true;
		if (waitpid(f->pid, NULL, WNOHANG) == f->pid) {
			f->pid = 0;
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return false;
}

bool fakedev_start(struct fakedev *f)
{
	char program[PATH_MAX], mnt[96];

	memset(f, 0, sizeof(*f));
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0 ||
		!find_program(program, sizeof(program)))
		return false;
	snprintf(f->top, sizeof(f->top), "/tmp/fakedev.XXXXXX");
	if (!mkdtemp(f->top))
		return false;
	snprintf(mnt, sizeof(mnt), "%s/mnt", f->top);
	snprintf(f->device, sizeof(f->device), "%s/mnt/cachefiles", f->top);
	snprintf(f->dir, sizeof(f->dir), "%s/dir", f->top);
	snprintf(f->log, sizeof(f->log), "%s/log", f->top);
	if (mkdir(mnt, 0700) < 0 || mkdir(f->dir, 0700) < 0)
		return false;
	f->pid = fork();
	if (f->pid == 0) {
		execl(program, "fakedev", "-l", f->log, mnt, (char *)NULL);
		_exit(127);
	}
	if (f->pid > 0 && wait_for_device(f))
		return true;
	fakedev_stop(f);
	return false;
}

void fakedev_stop(struct fakedev *f)
{
	char mnt[96];
	int tmp;

	if (!*f->top)
		return;
	snprintf(mnt, sizeof(mnt), "%s/mnt", f->top);
	if (f->pid > 0) {
		kill(f->pid, SIGTERM);
		waitpid(f->pid, NULL, 0);
		umount2(mnt, MNT_DETACH); /* in case it could not do so itself */
	}
	tmp = open("/tmp", O_PATH | O_CLOEXEC);
	path_remove_tree(tmp, f->top + strlen("/tmp/"), NULL);
	close(tmp);
	f->top[0] = '\0';
	f->pid = 0;
}

static int open_control(struct fakedev *f)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/mnt/control", f->top);
	return open(path, O_RDWR | O_CLOEXEC);
}

int fakedev_control(struct fakedev *f, const char *fmt, ...)
{
	char text[4096];
	int fd = open_control(f), n, r;
	va_list ap;

	if (fd < 0)
		return -errno;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r = write(fd, text, (size_t)n) == n ? 0 : -errno;
	close(fd);
	return r;
}

uint64_t fakedev_counter(struct fakedev *f, const char *name)
{
	uint64_t value = UINT64_MAX;
	size_t len = strlen(name);
	char text[1024];
	int fd = open_control(f);
	ssize_t n;

	if (fd < 0)
		return value;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (!strncmp(p, name, len) && p[len] == '=')
			value = strtoull(p + len + 1, NULL, 10);
	return value;
}
