/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tree.h — many files as one unit: import them and their manifest, export them below a directory
 * that appears whole. Several files travel at once.
 */
#ifndef DFCACHE_TREE_H
#define DFCACHE_TREE_H

#include "dfcache/progress.h"
#include "dfcache/session.h"
#include "dfcache/transfer.h"

struct tree_result {
	uint64_t n_files, bytes;
};

/* tree_import - files, and directories with all below them. One directory alone stands for its
 * content; otherwise each path is an entry under its last component. @like: tag, application,
 * replicas, ttl …, the same for all; its result is that of the manifest. 0 or the exit status, with
 * s->failure set. */
int tree_import(struct session *s, char *const *paths, unsigned n_paths, struct import_job *like,
	struct progress *p, struct tree_result *result);
/* tree_export - the manifest @like->id below @like->output */
int tree_export(struct session *s, const struct export_job *like, struct progress *p,
	struct tree_result *result);

#endif
