/* SPDX-License-Identifier: GPL-2.0-or-later */
/* regfile.h — regular files with the rights of whoever calls: read one that exists, make one that
 * appears under its name whole or not at all.
 *
 * Paths are resolved as open(2) would for this process: symbolic links are followed, also one that
 * is the last component (its target is what is made or replaced). What is not a regular file is
 * never read, replaced or waited for.
 * A new file has no name until it is placed (O_TMPFILE), so a killed process leaves nothing. Where
 * the file system or a missing /proc does not allow that, it has the hidden name ".NAME.XXXXXXXX"
 * meanwhile. Replacing goes through such a name for the moment between link and rename.
 * Everything blocks. Errors: -errno as the system calls give it, and what is named below.
 */
#ifndef COMMON_REGFILE_H
#define COMMON_REGFILE_H

#include <stdbool.h>
#include <sys/types.h>

/* regfile_open - for reading. -EISDIR: a directory; -EMEDIUMTYPE: another kind of file (and it was
 * not opened in a way that could block or act). Returns a descriptor. */
int regfile_open(int dirfd, const char *path);

struct regfile_new {
	int fd; /* read and write; closed by _fini */
	/* private */
	int dirfd;
	char *name, *temp;
	bool overwrite;
};
#define REGFILE_NEW_NULL                                                                           \
	{                                                                                          \
		.fd = -1, .dirfd = -1                                                              \
	}

/* regfile_create - an empty file, mode @mode less the umask, that will be @path. -EEXIST: something
 * is there and not @overwrite; -EISDIR, -EMEDIUMTYPE: it is there and no regular file; -ENOENT,
 * -ENOTDIR: the directory is not. */
int regfile_create(struct regfile_new *f, int dirfd, const char *path, mode_t mode, bool overwrite);
/* regfile_place - give it its name; atomic. The descriptor stays open until _fini. */
int regfile_place(struct regfile_new *f);
/* regfile_fini - what was not placed leaves no trace; safe on the null form and twice */
void regfile_fini(struct regfile_new *f);

/* regfile_link - make @path a hard link of @fd, replacing if @overwrite; success too when it is one
 * already. @raise (may be NULL) is called with true just before and false just after each linkat(2):
 * where a capability is held for that call alone. -EPERM with overwrite in a sticky directory that
 * is not the caller's, when something is to be replaced: the link could not be renamed there. */
int regfile_link(int fd, int dirfd, const char *path, bool overwrite, void (*raise)(bool on));

#endif
