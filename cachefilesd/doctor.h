/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor.h — what is wrong, or will be, with this configuration on this machine. Looks, changes
 * nothing; runs in cachefilesctl.
 */
#ifndef CACHEFILESD_DOCTOR_H
#define CACHEFILESD_DOCTOR_H

#include "cachefilesd/config.h"

enum doctor_level { DOCTOR_OK, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_ERROR };
const char *doctor_level_name(enum doctor_level l);

/* doctor_run - calls @emit for each finding: @what names the thing looked at, @text is a sentence
 * with advice. Returns the worst level. */
enum doctor_level doctor_run(const struct config *cfg,
	void (*emit)(void *arg, enum doctor_level l, const char *what, const char *text),
	void *arg);

#endif
