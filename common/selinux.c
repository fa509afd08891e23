/* SPDX-License-Identifier: GPL-2.0-or-later */
/* selinux.c — see selinux.h */
#include "common/selinux.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <selinux/selinux.h>

__attribute__((format(printf, 3, 4))) static int fail(int err, char *reason, const char *fmt, ...)
{
	va_list ap;

	if (reason) {
		va_start(ap, fmt);
		vsnprintf(reason, SELINUX_REASON, fmt, ap);
		va_end(ap);
	}
	return err;
}

bool selinux_is_active(void)
{
	return is_selinux_enabled() == 1;
}

int selinux_check_context(const char *context, char *reason)
{
	if (!selinux_is_active())
		return fail(-EOPNOTSUPP, reason,
			"SELinux is not active on this machine, so the context %.100s means nothing here",
			context);
	if (security_check_context(context) == 0)
		return 0;
	if (errno == EINVAL)
		return fail(-EINVAL, reason,
			"the loaded SELinux policy does not know the context %.100s; one has the form user:role:type:level",
			context);
	return fail(-errno, reason, "the context %.100s could not be checked: %s", context,
		strerror(errno));
}

int selinux_get_label(int fd, char **label, char *reason)
{
	char *raw = NULL;

	if (fgetfilecon(fd, &raw) < 0)
		return fail(
			-errno, reason, "the SELinux label could not be read: %s", strerror(errno));
	*label = strdup(raw);
	freecon(raw);
	return *label ? 0 : fail(-ENOMEM, reason, "out of memory");
}

int selinux_set_label(int fd, const char *label, char *reason)
{
	if (fsetfilecon(fd, label) == 0)
		return 0;
	return fail(-errno, reason, "the SELinux label %.100s could not be set: %s", label,
		strerror(errno));
}
