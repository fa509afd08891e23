/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sandbox.h — system calls that cachefilesd never makes are refused from now on (seccomp).
 *
 * A list of what is denied, not of what is allowed: a daemon that keeps a disk must not die because a
 * C library learnt a new call. Denied, with EPERM: sockets that are not unix sockets, io_uring (it
 * would pass by this filter), other processes' memory, modules, mounts, bpf, keys, the clock.
 */
#ifndef CACHEFILESD_SANDBOX_H
#define CACHEFILESD_SANDBOX_H

/* sandbox_enter - for this thread and those it starts; needs no_new_privs. 0; -ENOSYS where the
 * kernel has no seccomp or the machine is not known here; -errno */
int sandbox_enter(void);

#endif
