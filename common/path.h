/* SPDX-License-Identifier: GPL-2.0-or-later */
/* path.h — opening below a directory, and lexical path work.
 *
 * path_open_beneath() is the only way our daemons open something inside a directory they own: it
 * never leaves it, never follows a symbolic link, never crosses a mount (openat2, RESOLVE_BENEATH |
 * RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS; component by component where the
 * kernel or a filter does not offer openat2).
 */
#ifndef COMMON_PATH_H
#define COMMON_PATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* path_open_beneath - O_CLOEXEC is added. Returns a descriptor or -errno (-EXDEV: would leave). */
int path_open_beneath(int dirfd, const char *rel, int flags, mode_t mode);
/* path_mkdir_p - create @path and its missing parents with @mode; 0 or -errno */
int path_mkdir_p(const char *path, mode_t mode);
/* path_absolute - @path made absolute against the working directory, "." and ".." and repeated
 * slashes removed as text (symbolic links are not resolved). malloc'd, or NULL with errno. */
char *path_absolute(const char *path);
/* path_is_dots - exactly "." or ".." */
bool path_is_dots(const char *name);
/* path_remove_tree - delete what is below and including @name in @dirfd: any depth, any names,
 * never follows, never crosses a device. Returns 0 or the first -errno after trying everything.
 * *n_removed (may be NULL) counts entries removed. */
int path_remove_tree(int dirfd, const char *name, unsigned long *n_removed);
/* path_remove_tree_until - the same, given up with -ECANCELED when *stop becomes true */
int path_remove_tree_until(
	int dirfd, const char *name, unsigned long *n_removed, const atomic_bool *stop);

#endif
