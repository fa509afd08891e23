/* SPDX-License-Identifier: GPL-2.0-or-later */
/* notify.h — systemd's readiness protocol (sd_notify) and socket activation without libsystemd.
 * Failure is never fatal; without NOTIFY_SOCKET all calls do nothing and return 0.
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

/* notify - send assignments, for example "READY=1\nSTATUS=bound". 1 sent, 0 no socket, -errno. */
int notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* notify_store_fd - FDSTORE=1, FDPOLL=0 with @name */
int notify_store_fd(int fd, const char *name);
int notify_remove_fd(const char *name);
/* notify_barrier - wait until everything sent so far was acted on: 1, 0 no socket, -ETIMEDOUT */
int notify_barrier(int timeout_ms);
/* notify_watchdog_ns - WATCHDOG_USEC for this process, 0 when off */
uint64_t notify_watchdog_ns(void);
/* notify_listen_fds - descriptors passed by LISTEN_FDS (3…), made CLOEXEC. Returns the count;
 * names[i] (LISTEN_FDNAMES, malloc'd block in *block, may be "") for each. The variables are unset. */
size_t notify_listen_fds(int first_fd[1], char **names, size_t max, char **block);

#endif
