/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manifest.h — the list of files that were imported as one unit: text <-> entries. Pure.
 *
 * The manifest is a task like another; its id stands for the tree. Text, one entry a line, so that
 * it can be read and compared by eye:
 *   dfcachefiles manifest 1
 *   d 0755 sub
 *   f 0644 1048576 2229733261 sub/a.bin      mode, bytes, task id, path
 *   l target sub/link
 * In paths and targets, bytes up to space, '%' and 0x7f are written %XX. Directories stand before what
 * is in them. A path is relative, without empty, "." or ".." components, and appears once.
 */
#ifndef DFCACHE_MANIFEST_H
#define DFCACHE_MANIFEST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;

#define MANIFEST_MAX_ENTRIES (1u << 20)
#define MANIFEST_MAX_BYTES   (256u << 20)
#define MANIFEST_ID_MAX      64

enum manifest_kind { MANIFEST_DIRECTORY = 'd', MANIFEST_FILE = 'f', MANIFEST_LINK = 'l' };

struct manifest_entry {
	enum manifest_kind kind;
	mode_t mode; /* 0..0777 */
	uint64_t bytes; /* files */
	char id[MANIFEST_ID_MAX + 1]; /* files */
	char *path, *target; /* owned; target of links */
};

struct manifest {
	struct manifest_entry *entries; /* owned */
	size_t n, cap;
};

/* manifest_add - a copy of the strings; the entry to fill in the rest of, or NULL (out of memory, or
 * too many) */
struct manifest_entry *manifest_add(
	struct manifest *m, enum manifest_kind kind, const char *path, const char *target);
/* manifest_path_is_safe - what may stand in a manifest and be made below an output directory */
int manifest_path_is_safe(const char *path);
void manifest_encode(const struct manifest *m, struct buf *out);
/* manifest_parse - 0, -ENOMEM, or -EBADMSG with a sentence in @why (160 bytes) */
int manifest_parse(struct manifest *m, const char *text, size_t len, char *why);
void manifest_fini(struct manifest *m);

#endif
