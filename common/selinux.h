/* SPDX-License-Identifier: GPL-2.0-or-later */
/* selinux.h — is SELinux there, is a context valid, what label does a file carry.
 *
 * The only file that includes libselinux. On a machine where another security module is active, or
 * none, all of it is harmless: selinux_is_active() says false and the rest is not needed.
 */
#ifndef COMMON_SELINUX_H
#define COMMON_SELINUX_H

#include <stdbool.h>
#include <stddef.h>

#define SELINUX_REASON 320

/* selinux_is_active - SELinux is a security module of the running kernel and a policy is loaded */
bool selinux_is_active(void);
/* selinux_check_context - would the kernel take @context for a process or file? 0, or -EINVAL,
 * -EOPNOTSUPP (SELinux is not active here) or another -errno, with a sentence in @reason
 * (SELINUX_REASON bytes, may be NULL) */
int selinux_check_context(const char *context, char *reason);
/* selinux_get_label, selinux_set_label - of what @fd refers to (O_PATH will not do). *label is
 * malloc'd. 0 or -errno with @reason as above. */
int selinux_get_label(int fd, char **label, char *reason);
int selinux_set_label(int fd, const char *label, char *reason);
/* selinux_label_for - what the policy's file contexts say for a directory at @path. *label is
 * malloc'd. 0, -ENOENT (they say nothing, or are not there) or another -errno */
int selinux_label_for(const char *path, char **label);
/* selinux_same_type - is the third field of the two labels the same? */
bool selinux_same_type(const char *a, const char *b);

#endif
