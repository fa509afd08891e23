/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bringup.c — see bringup.h */
#include "cachefilesd/bringup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cachefilesd/holder.h"
#include "cachefilesd/kcache.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/path.h"

static void log_lines(int level, const char *prefix, struct buf *b)
{
	char *save = NULL;

	for (char *s = b->data ? strtok_r((char *)b->data, "\n", &save) : NULL; s;
		s = strtok_r(NULL, "\n", &save))
		log_line(level, "%s%s", prefix, s);
}

struct culler_config bringup_culler_config(const struct config *cfg, const char *dir, bool no_cull)
{
	struct culler_config c = CULLER_CONFIG_DEFAULT;

	c.kernel.dir = dir;
	c.kernel.tag = cfg->tag;
	c.kernel.secctx = cfg->secctx;
	c.kernel.limits = cfg->limits;
	c.kernel.raw = (const char *const *)cfg->raw;
	c.kernel.n_raw = cfg->n_raw;
	c.kernel.allow_foreign = cfg->allow_foreign;
	c.device = getenv("CACHEFILESD_DEVICE");
	c.no_kernel = cfg->nokernel;
	c.culltable = cfg->culltable;
	c.no_cull = no_cull || cfg->nocull;
	c.resume_blocks = cfg->resume_blocks == CONFIG_RESUME_NONE ? CULLER_RESUME_IGNORE
								   : cfg->resume_blocks;
	c.resume_files =
		cfg->resume_files == CONFIG_RESUME_NONE ? CULLER_RESUME_IGNORE : cfg->resume_files;
	c.overshoot_permille = cfg->overshoot_pct * 10;
	c.kernel_max_bytes = cfg->kernel_max_size;
	c.kernel_max_age_ns = cfg->kernel_max_age_ns;
	return c;
}

static bool adopt(struct culler_config *c, struct holder *h, struct culler_fds *fds)
{
	_cleanup_buf_ struct buf bound = {0}, differences = {0};
	int kept[HOLDER_N_SLOTS];

	if (!holder_adopted(h, kept, &bound))
		return false;
	*fds = (struct culler_fds){.device = kept[HOLDER_DEVICE],
		.root = kept[HOLDER_ROOT],
		.cache = kept[HOLDER_CACHE],
		.graveyard = kept[HOLDER_GRAVEYARD]};
	log_notice("the kernel's cache is still bound, going on with it");
	if (kcache_compare_bound(buf_str(&bound), &c->kernel, c->use_secctx, &differences))
		log_lines(LOG_WARNING, "needs a stop and a start: ", &differences);
	c->is_bound_otherwise = !kcache_has_limits(buf_str(&bound), &c->kernel.limits);
	if (c->is_bound_otherwise)
		log_notice("until then culling goes by the configured limits, and the kernel "
			   "refuses to store by those of its bind, too");
	return true;
}

static int open_subdirs(struct culler_fds *fds, char *reason)
{
	fds->cache = path_open_beneath(fds->root, "cache", O_RDONLY | O_DIRECTORY, 0);
	fds->graveyard = path_open_beneath(fds->root, "graveyard", O_RDONLY | O_DIRECTORY, 0);
	if (fds->cache >= 0 && fds->graveyard >= 0)
		return 0;
	snprintf(reason, BRINGUP_REASON, "cannot open cache/ and graveyard/: errno %d (%s)",
		-(fds->cache < 0 ? fds->cache : fds->graveyard),
		strerror(-(fds->cache < 0 ? fds->cache : fds->graveyard)));
	return fds->cache < 0 ? fds->cache : fds->graveyard;
}

static int bind_fresh(struct culler_config *c, struct holder *h, int root_fd,
	struct culler_fds *fds, char *reason)
{
	_cleanup_buf_ struct buf bound = {0};
	struct kcache kc;
	int rc, fd = kcache_open(c->device, reason);

	if (fd < 0)
		return fd;
	kcache_init(&kc, fd);
	log_info("About to bind cache");
	rc = kcache_bind(&kc, &c->kernel, c->use_secctx, reason);
	if (rc) {
		kcache_fini(&kc);
		return rc;
	}
	log_info("Bound cache");
	fds->device = take_fd(&kc.fd);
	kcache_fini(&kc);
	fds->root = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
	rc = fds->root < 0 ? -errno : open_subdirs(fds, reason);
	if (rc)
		return rc;
	kcache_format_bound(&c->kernel, c->use_secctx, &bound);
	rc = holder_keep(h,
		(const int[]){[HOLDER_DEVICE] = fds->device,
			[HOLDER_ROOT] = fds->root,
			[HOLDER_CACHE] = fds->cache,
			[HOLDER_GRAVEYARD] = fds->graveyard},
		buf_str(&bound), bound.len);
	if (rc)
		log_warning("nobody else holds the device: a crash would withdraw the kernel's "
			    "cache reason=%s",
			strerror(-rc));
	return 0;
}

int bringup_kernel(struct culler_config *c, struct holder *h, int root_fd, struct culler_fds *fds,
	char *reason)
{
	_cleanup_buf_ struct buf warnings = {0};
	int rc = kcache_preflight(&c->kernel, &c->use_secctx, reason, &warnings);

	*fds = (struct culler_fds){-1, -1, -1, -1};
	log_lines(LOG_WARNING, "", &warnings);
	if (adopt(c, h, fds)) {
		if (rc)
			log_warning("a fresh start would fail: %s", reason);
		return 0;
	}
	if (!rc)
		rc = bind_fresh(c, h, root_fd, fds, reason);
	if (rc) {
		fd_close(fds->device);
		fd_close(fds->root);
		fd_close(fds->cache);
		fd_close(fds->graveyard);
	}
	return rc;
}
