// SPDX-License-Identifier: GPL-2.0-or-later
/* kdevice.c — getting at the device: the module, the node, who else has it (see kcache.h). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cachefilesd/kcache.h"
#include "common/cleanup.h"
#include "common/num.h"

#define OLD_DEVICE "/proc/fs/cachefiles" /* 2.6 */

/* The node appears when the module is loaded, and nothing loads it by itself: it has no alias. */
static bool load_module(void)
{
	static const char *const paths[] = {"/sbin/modprobe", "/usr/sbin/modprobe"};
	static char name[] = "modprobe", flags[] = "-qab", module[] = "cachefiles";
	static char path_env[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	char *argv[] = {name, flags, module, NULL}, *envp[] = {path_env, NULL};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		pid_t pid;
		int status;

		if (access(paths[i], X_OK) < 0 ||
			posix_spawn(&pid, paths[i], NULL, NULL, argv, envp))
			continue;
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				return false;
		return WIFEXITED(status) && !WEXITSTATUS(status);
	}
	return false;
}

static int open_node(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* udev may make the node a moment after the module is loaded */
static int open_node_soon(const char *path)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	int fd = -ENOENT;

	for (int i = 0; i < 100 && fd == -ENOENT; i++) {
		fd = open_node(path);
		if (fd == -ENOENT)
			nanosleep(&pause, NULL);
	}
	return fd;
}

int kcache_open(const char *path, char *reason)
{
	const char *node = path ? path : KCACHE_DEVICE;
	bool is_real = !strcmp(node, KCACHE_DEVICE), was_loaded = false;
	char holder[64];
	int fd = open_node(node);

	if (fd == -ENOENT && is_real) {
		was_loaded = load_module();
		fd = was_loaded ? open_node_soon(node) : open_node(node);
		if (fd == -ENOENT)
			fd = open_node(OLD_DEVICE);
	}
	if (fd >= 0)
		return fd;
	switch (fd) {
	case -ENOENT:
		snprintf(reason, KCACHE_REASON, "Unable to open %s: errno %d (%s): %s", node, -fd,
			strerror(-fd),
			!is_real ? "no such device"
			: was_loaded
				? "the module is loaded, but there is no node: is /dev managed?"
				: "the kernel module cachefiles cannot be loaded: does this kernel "
				  "have CONFIG_CACHEFILES? (the keyword nokernel does without)");
		break;
	case -EBUSY:
		if (kcache_find_holder(node, holder, sizeof(holder)) < 0)
			strcpy(holder, "a process that is not visible here");
		snprintf(reason, KCACHE_REASON,
			"Unable to open %s: errno %d (%s): it is held by %s; there is one cache "
			"daemon for a kernel",
			node, -fd, strerror(-fd), holder);
		break;
	case -EPERM:
	case -EACCES:
		snprintf(reason, KCACHE_REASON,
			"Unable to open %s: errno %d (%s): it needs root with CAP_SYS_ADMIN in the "
			"initial user namespace",
			node, -fd, strerror(-fd));
		break;
	default:
		snprintf(reason, KCACHE_REASON, "Unable to open %s: errno %d (%s)", node, -fd,
			strerror(-fd));
	}
	return fd;
}

static bool is_number(const char *s)
{
	uint64_t ignored;

	return num_u64(s, 0, INT32_MAX, &ignored, NULL) == 0;
}

/* Has the process of /proc/@pid the node @st open? */
static bool has_open(int proc, const char *pid, const struct stat *st)
{
	_cleanup_dir_ DIR *d = NULL;
	char path[64];
	struct dirent *e;
	int fd;

	snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	d = fdopendir(fd);
	if (!d) {
		fd_close(fd);
		return false;
	}
	while ((e = readdir(d))) {
		struct stat s;

		if (is_number(e->d_name))
			if (fstatat(dirfd(d), e->d_name, &s, 0) == 0 && s.st_mode == st->st_mode &&
				s.st_rdev == st->st_rdev &&
				(S_ISCHR(s.st_mode) ||
					(s.st_dev == st->st_dev && s.st_ino == st->st_ino)))
				return true;
	}
	return false;
}

int kcache_find_holder(const char *path, char *out, size_t cap)
{
	_cleanup_dir_ DIR *d = opendir("/proc");
	struct dirent *e;
	struct stat st;

	if (!d)
		return -errno;
	if (stat(path ? path : KCACHE_DEVICE, &st) < 0)
		return -errno;
	while ((e = readdir(d))) {
		char comm_path[64], comm[32] = "";
		_cleanup_file_ FILE *f = NULL;

		if (!is_number(e->d_name) || !has_open(dirfd(d), e->d_name, &st))
			continue;
		snprintf(comm_path, sizeof(comm_path), "/proc/%.20s/comm", e->d_name);
		f = fopen(comm_path, "re");
		if (f && fgets(comm, sizeof(comm), f))
			comm[strcspn(comm, "\n")] = '\0';
		snprintf(out, cap, "%s (pid %.20s)", *comm ? comm : "a process", e->d_name);
		return 0;
	}
	return -ENOENT;
}
