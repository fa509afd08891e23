/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bringup.h — the kernel's cache at start: adopt what the holder kept of an earlier life, or check,
 * open and bind. Then main.c gives rights up and starts the culling thread.
 */
#ifndef CACHEFILESD_BRINGUP_H
#define CACHEFILESD_BRINGUP_H

#include <stdbool.h>

#include "cachefilesd/config.h"
#include "cachefilesd/culler.h"

struct holder;

#define BRINGUP_REASON 512

/* bringup_culler_config - what the culling thread takes from @cfg. Strings are borrowed; @dir is
 * absolute. */
struct culler_config bringup_culler_config(const struct config *cfg, const char *dir, bool no_cull);
/* bringup_kernel - *fds gets device, root, cache and graveyard (the caller's), c->use_secctx is set,
 * and the holder keeps duplicates. @root_fd is the directory, not consumed. 0, or -errno and
 * @reason, a sentence. Logs warnings and what was done. */
int bringup_kernel(struct culler_config *c, struct holder *h, int root_fd, struct culler_fds *fds,
	char *reason);

#endif
