/* SPDX-License-Identifier: GPL-2.0-or-later */
/* privs.h — giving rights up. Only main.c files call this.
 */
#ifndef COMMON_PRIVS_H
#define COMMON_PRIVS_H

#include <stddef.h>
#include <stdbool.h>
#include <sys/types.h>
#include <sys/capability.h>

/* privs_keep_caps - effective = permitted = @keep, inheritable and ambient empty, bounding set cut
 * to @keep where allowed, no_new_privs set. 0 or -errno. */
int privs_keep_caps(const cap_value_t *keep, size_t n);
/* privs_become_user - setgroups/initgroups, setresgid, setresuid by name; no way back. */
int privs_become_user(const char *user, const char *group);
/* privs_no_new_privs */
int privs_no_new_privs(void);
bool privs_have_cap(cap_value_t c);

#endif
