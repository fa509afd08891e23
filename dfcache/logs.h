/* SPDX-License-Identifier: GPL-2.0-or-later */
/* logs.h — dfcache.log in its directory, rotated hourly; shared by all dfcache that run at once.
 */
#ifndef DFCACHE_LOGS_H
#define DFCACHE_LOGS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define LOG_FILE_NAME "dfcache.log"

/* logs_rotate - if the log in the directory was last written in another hour than @now: dfcache.log
 * becomes .1, .1 becomes .2 …, and what would be older than @max_files is removed. One process at a
 * time does it (a lock on the directory). 0 or -errno. */
int logs_rotate(int dirfd, uint64_t max_files, time_t now);
/* logs_open - make the directory if missing, rotate, send the log there, and with @console to
 * standard error as well. 0, or -errno: the directory cannot be used, and there is no file. */
int logs_open(const char *dir, uint64_t max_files, int level, bool console);

#endif
