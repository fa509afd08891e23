/* SPDX-License-Identifier: GPL-2.0-or-later */
/* objname.h — what an entry of the kernel's cache tree is, told by its name and type. Pure, fuzzed.
 *
 * Both on-disk generations (cachefiles.md §1.8). From Linux 5.17: I<volume>/@XX/<D E S T object>.
 * Before: a tree of I and J indices, @xx and + intermediate directories, D E S T objects that are
 * files, or directories when they have children. The scan asks objname_classify() for each entry;
 * what fits neither is an alien, which the cache erases.
 */
#ifndef CACHEFILESD_OBJNAME_H
#define CACHEFILESD_OBJNAME_H

#include <stdbool.h>
#include <stddef.h>

enum objname_kind {
	OBJNAME_SKIP, /* "." and ".." exactly */
	OBJNAME_INDEX, /* I, J: volume or index directory: descend */
	OBJNAME_INTERMEDIATE, /* @, +: fan-out directory: descend */
	OBJNAME_OBJECT, /* D, E, S, T: a candidate for culling, file or old-format directory */
	OBJNAME_ALIEN, /* no kernel made this */
};

enum objname_type { OBJNAME_REG, OBJNAME_DIR, OBJNAME_OTHER };

enum objname_kind objname_classify(const char *name, enum objname_type type);
/* objname_is_fanout - exactly "@" and two hexadecimal digits: a directory that the kernel of 5.17
 * and later makes with the volume and keeps in use as long as it */
bool objname_is_fanout(const char *name);

/* objname_decode - the key inside an object's name as printable text for people, cut to @cap
 * bytes: D keys as they are, S, T and E keys as hexadecimal bytes. False: not decodable. */
bool objname_decode(const char *name, char *out, size_t cap);

#endif
