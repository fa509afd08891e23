/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/rpc/rpc.h"

#define NO_CONNECTION "cannot connect to " /* how common/rpc begins such a message */

int failure_set(struct failure *f, enum exit_status status, const char *hint, const char *fmt, ...)
{
	va_list ap;

	if (f->status != EXIT_OK)
		return (int)f->status;
	f->status = status;
	f->hint = hint ? strdup(hint) : NULL;
	va_start(ap, fmt);
	if (vasprintf(&f->message, fmt, ap) < 0)
		f->message = NULL;
	va_end(ap);
	return (int)status;
}

int failure_from_rpc(struct failure *f, int status, const char *message, const char *endpoint)
{
	enum exit_status e = exit_from_status(status, message);

	if (status == RPC_UNIMPLEMENTED)
		return failure_set(f, e, "import, export and stat work with every daemon",
			"this dfdaemon cannot do that: %s", message);
	switch (e) {
	case EXIT_UNAVAILABLE:
		/* said by the daemon about somebody else, or by us about the daemon? */
		if (strncmp(message, NO_CONNECTION, strlen(NO_CONNECTION)) != 0)
			return failure_set(f, e, NULL, "%s", message);
		return failure_set(f, e,
			"is dfdaemon running? -e names its socket, and `systemctl status dfdaemon` "
			"tells more",
			strstr(message, endpoint) ? "%s" : "%s (dfdaemon at %s)", message,
			endpoint);
	case EXIT_TIMEOUT:
		return failure_set(f, e, "give it more time with --timeout", "%s", message);
	case EXIT_NOT_FOUND:
		return failure_set(f, e,
			"`dfcache ls` shows the tasks on this node; a task ends with its ttl", "%s",
			message);
	case EXIT_NO_SPACE:
		return failure_set(f, e,
			"`cachefilesctl status` shows the space and what could be removed", "%s",
			message);
	case EXIT_CORRUPT:
		return failure_set(f, e, "import the file again from a good copy", "%s", message);
	default:
		return failure_set(f, e, NULL, "%s", *message ? message : rpc_status_name(status));
	}
}

void failure_fini(struct failure *f)
{
	free(f->message);
	free(f->hint);
	*f = (struct failure){0};
}

const char *exit_status_name(enum exit_status s)
{
	static const char *const names[] = {
		[EXIT_OK] = "ok",
		[EXIT_FAILED] = "failed",
		[EXIT_USAGE] = "usage",
		[EXIT_INVALID] = "invalid",
		[EXIT_NOT_FOUND] = "not_found",
		[EXIT_NO_SPACE] = "no_space",
		[EXIT_TIMEOUT] = "timeout",
		[EXIT_UNAVAILABLE] = "unavailable",
		[EXIT_DENIED] = "denied",
		[EXIT_CORRUPT] = "corrupt",
		[EXIT_EXISTS] = "exists",
	};

	return (size_t)s < ARRAY_SIZE(names) ? names[s] : "interrupted";
}

/* plain - what names of files and answers of daemons do to a terminal is not theirs to decide */
static void plain(struct buf *b)
{
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] < ' ' || b->data[i] == 0x7f)
			b->data[i] = '?';
}

int report(const struct cli *c, const char *what, const struct failure *f)
{
	const char *message = f->message ? f->message : "out of memory";
	_cleanup_buf_ struct buf b = {0};

	/* one write: what others print at the same moment stays apart */
	buf_addf(&b, "dfcache: %s failed: %s", what, message);
	plain(&b);
	buf_addc(&b, '\n');
	if (f->hint)
		buf_addf(&b, "  %s\n", f->hint);
	if (buf_ok(&b))
		(void)fd_write_full(STDERR_FILENO, b.data, b.len);
	log_err("%s failed exit=%d reason=%s", what, (int)f->status, message);
	if (cli_has(c, "json") && cli_flag(c, "json")) {
		_cleanup_buf_ struct buf j = {0};

		buf_addf(&j, "{\"error\": \"%s\", \"exit_status\": %d, \"message\": ",
			exit_status_name(f->status), (int)f->status);
		buf_json_string(&j, message);
		buf_adds(&j, ", \"hint\": ");
		if (f->hint)
			buf_json_string(&j, f->hint);
		else
			buf_adds(&j, "null");
		buf_adds(&j, "}\n");
		fputs(buf_str(&j), stdout);
	}
	return (int)f->status;
}

void report_warning(const char *fmt, ...)
{
	_cleanup_buf_ struct buf b = {0};
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&b, fmt, ap);
	va_end(ap);
	plain(&b);
	fprintf(stderr, "dfcache: warning: %s\n", buf_str(&b));
	log_warning("%s", buf_str(&b));
}
