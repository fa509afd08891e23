/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"
#include "dfcache/report.h"

#define MAX_FILES 1000 /* a bound for the work, whatever --log-max-files says */

static void old_name(char out[64], uint64_t i)
{
	if (i == 0)
		snprintf(out, 64, LOG_FILE_NAME);
	else
		snprintf(out, 64, LOG_FILE_NAME ".%" PRIu64, i);
}

static bool is_due(int dirfd, time_t now)
{
	struct stat st;

	/* by the wall clock's hours, so that files of several nodes line up */
	return fstatat(dirfd, LOG_FILE_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_mtime / 3600 != now / 3600 && st.st_size > 0;
}

int logs_rotate(int dirfd, uint64_t max_files, time_t now)
{
	_cleanup_fd_ int lock = -1;
	char from[64], to[64];

	if (!is_due(dirfd, now))
		return 0;
	lock = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return -errno;
	if (!is_due(dirfd, now)) /* another process was first */
		return 0;
	if (max_files > MAX_FILES)
		max_files = MAX_FILES;
	for (uint64_t i = max_files + 1; i-- > 0;) {
		old_name(from, i);
		old_name(to, i + 1);
		/* ENOENT: a gap, filled by the younger ones */
		if (i == max_files ? unlinkat(dirfd, from, 0) < 0 && errno != ENOENT
				   : renameat(dirfd, from, dirfd, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int open_file(const char *dir, uint64_t max_files)
{
	_cleanup_fd_ int dirfd = -1;
	char path[PATH_MAX];
	int r = path_mkdir_p(dir, 0755);

	if (r < 0)
		return r;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return -errno;
	if (snprintf(path, sizeof(path), "%s/" LOG_FILE_NAME, dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = logs_rotate(dirfd, max_files, time(NULL));
	return r < 0 ? r : log_open(LOG_SINK_FILE, "dfcache", path);
}

int logs_open(const char *dir, uint64_t max_files, int level, bool console)
{
	int r = 0;

	log_set_level(level);
	log_also_stderr(console);
	if (*dir)
		r = open_file(dir, max_files);
	if (r < 0 || !*dir) {
		/* standard error is not for the log, unless --console asks for it */
		log_also_stderr(false);
		log_open(console ? LOG_SINK_STDERR : LOG_SINK_NONE, "dfcache", NULL);
	}
	return r;
}
