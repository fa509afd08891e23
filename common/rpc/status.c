/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.c — see status.h */
#include "common/rpc/status.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/rpc/rpc.h"
#include "common/utf8.h"

static const char *const names[] = {
	[RPC_OK] = "OK",
	[RPC_CANCELLED] = "CANCELLED",
	[RPC_UNKNOWN] = "UNKNOWN",
	[RPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
	[RPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
	[RPC_NOT_FOUND] = "NOT_FOUND",
	[RPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
	[RPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
	[RPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
	[RPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
	[RPC_ABORTED] = "ABORTED",
	[RPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
	[RPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
	[RPC_INTERNAL] = "INTERNAL",
	[RPC_UNAVAILABLE] = "UNAVAILABLE",
	[RPC_DATA_LOSS] = "DATA_LOSS",
	[RPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *rpc_status_name(int status)
{
	/* a number that has no name can only come from a peer; the text is for a log line that is
	 * written before the next call */
	static _Thread_local char unknown[32];

	if (status >= 0 && (size_t)status < ARRAY_SIZE(names))
		return names[status];
	snprintf(unknown, sizeof(unknown), "status %d", status);
	return unknown;
}

int status_from_http(int http)
{
	switch (http) {
	case 400:
		return RPC_INTERNAL;
	case 401:
		return RPC_UNAUTHENTICATED;
	case 403:
		return RPC_PERMISSION_DENIED;
	case 404:
		return RPC_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return RPC_UNAVAILABLE;
	default:
		return RPC_UNKNOWN;
	}
}

int status_from_h2(uint32_t error_code)
{
	switch (error_code) {
	case NGHTTP2_REFUSED_STREAM:
		return RPC_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return RPC_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return RPC_RESOURCE_EXHAUSTED;
	case NGHTTP2_INADEQUATE_SECURITY:
		return RPC_PERMISSION_DENIED;
	default:
		return RPC_INTERNAL;
	}
}

int status_parse(const char *value)
{
	int v = 0;
	size_t i;

	for (i = 0; value[i] >= '0' && value[i] <= '9' && i < 4; i++)
		v = v * 10 + (value[i] - '0');
	return !i || value[i] ? RPC_UNKNOWN : v;
}

void status_message_encode(struct buf *out, const char *text)
{
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (*p < 0x20 || *p > 0x7e || *p == '%')
			buf_addf(out, "%%%02X", *p);
		else
			buf_addc(out, (char)*p);
	}
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void status_message_decode(struct buf *out, const char *value)
{
	_cleanup_buf_ struct buf raw = {0};

	for (const char *p = value; *p; p++) {
		if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
			buf_addc(&raw, (char)(hex(p[1]) << 4 | hex(p[2])));
			p += 2;
		} else {
			buf_addc(&raw, *p);
		}
	}
	if (!buf_ok(&raw))
		return;
	for (size_t i = 0; i < raw.len;) {
		size_t n = utf8_sequence(raw.data + i, raw.len - i);

		if (!n) {
			buf_addc(out, '?');
			n = 1;
		} else if (raw.data[i] < 0x20 || raw.data[i] == 0x7f) {
			buf_addc(out, ' ');
		} else {
			buf_add(out, raw.data + i, n);
		}
		i += n;
	}
}

static const struct {
	char unit;
	uint64_t ns;
} units[] = {
	{'n', 1},
	{'u', 1000},
	{'m', 1000000},
	{'S', 1000000000},
	{'M', UINT64_C(60) * 1000000000},
	{'H', UINT64_C(3600) * 1000000000},
};

int status_timeout_parse(const char *value, uint64_t *ns)
{
	uint64_t v = 0;
	size_t n = 0;

	while (value[n] >= '0' && value[n] <= '9') {
		if (n == 8)
			return -EINVAL;
		v = v * 10 + (uint64_t)(value[n++] - '0');
	}
	if (!n || !value[n] || value[n + 1])
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (units[i].unit != value[n])
			continue;
		/* 99999999 hours do not fit; such a deadline is none */
		if (__builtin_mul_overflow(v, units[i].ns, ns))
			*ns = UINT64_MAX;
		return 0;
	}
	return -EINVAL;
}

char *status_timeout_format(uint64_t ns, char out[STATUS_TIMEOUT_TEXT])
{
	size_t i = 0;
	uint64_t v = ns;

	while (v > 99999999 && i + 1 < ARRAY_SIZE(units)) {
		i++;
		v = ns / units[i].ns + !!(ns % units[i].ns);
	}
	snprintf(out, STATUS_TIMEOUT_TEXT, "%u%c", (unsigned)v, units[i].unit);
	return out;
}
