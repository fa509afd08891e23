/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop_auto.c — the ring where it works, epoll where it does not; says which, once. */
#include "common/loop_impl.h"

#include <errno.h>
#include <string.h>

#include "common/log.h"

int loop_new_auto(struct loop **out, const char *want, unsigned n_workers)
{
	bool is_auto = !strcmp(want, "auto");
	int r;

	if (!strcmp(want, "epoll")) {
		r = loop_new(out, &loop_backend_epoll, n_workers);
		if (!r)
			log_notice("loop: epoll with a thread pool, as configured workers=%u",
				n_workers);
		return r;
	}
	if (!is_auto && strcmp(want, "io_uring"))
		return -EINVAL;
	r = loop_new(out, &loop_backend_uring, n_workers);
	if (!r) {
		log_notice("loop: io_uring %s workers=%u", (*out)->detail, n_workers);
		return 0;
	}
	if (!is_auto)
		return r;
	log_notice(
		"loop: io_uring cannot be used here (%s), epoll with a thread pool instead workers=%u",
		strerror(-r), n_workers);
	return loop_new(out, &loop_backend_epoll, n_workers);
}
