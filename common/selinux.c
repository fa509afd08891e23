/* SPDX-License-Identifier: GPL-2.0-or-later */
/* selinux.c — see selinux.h */
#include "common/selinux.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <selinux/label.h>
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

int selinux_label_for(const char *path, char **label)
{
	struct selabel_handle *h = selabel_open(SELABEL_CTX_FILE, NULL, 0);
	char *raw = NULL;
	int r = 0;

	if (!h)
		return -errno;
	if (selabel_lookup(h, &raw, path, S_IFDIR) < 0)
		r = -errno;
	selabel_close(h);
	if (r < 0)
		return r;
	*label = strdup(raw);
	freecon(raw);
	return *label ? 0 : -ENOMEM;
}

/* The third field; its length in *len, 0 when there is none */
static const char *type_of(const char *label, size_t *len)
{
	for (int i = 0; i < 2; i++) {
		label += strcspn(label, ":");
		label += *label == ':';
	}
	*len = strcspn(label, ":");
	return label;
}

bool selinux_same_type(const char *a, const char *b)
{
	size_t n, m;

	a = type_of(a, &n);
	b = type_of(b, &m);
	return n == m && !memcmp(a, b, n);
}
