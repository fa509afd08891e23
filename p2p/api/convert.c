/* SPDX-License-Identifier: GPL-2.0-or-later */
/* convert.c — see convert.h */
#include "p2p/api/convert.h"

#include <stdio.h>
#include <string.h>

#define SEC UINT64_C(1000000000)

bool api_duration_ns(const Google__Protobuf__Duration *d, uint64_t *ns)
{
	*ns = 0;
	if (!d)
		return true;
	/* UINT64_MAX nanoseconds are 584 years: more than any of ours, less than the format can */
	if (d->seconds < 0 || d->nanos < 0 || d->nanos >= (int32_t)SEC ||
		(uint64_t)d->seconds > UINT64_MAX / SEC - 1)
		return false;
	*ns = (uint64_t)d->seconds * SEC + (uint64_t)d->nanos;
	return true;
}

void api_set_duration(Google__Protobuf__Duration *d, uint64_t ns)
{
	google__protobuf__duration__init(d);
	d->seconds = (int64_t)(ns / SEC);
	d->nanos = (int32_t)(ns % SEC);
}

uint64_t api_timestamp_ns(const Google__Protobuf__Timestamp *t)
{
	if (!t || t->seconds < 0 || t->nanos < 0 || t->nanos >= (int32_t)SEC ||
		(uint64_t)t->seconds > UINT64_MAX / SEC - 1)
		return 0;
	return (uint64_t)t->seconds * SEC + (uint64_t)t->nanos;
}

void api_set_timestamp(Google__Protobuf__Timestamp *t, uint64_t ns)
{
	google__protobuf__timestamp__init(t);
	t->seconds = (int64_t)(ns / SEC);
	t->nanos = (int32_t)(ns % SEC);
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

bool api_parse_fingerprint(const char *text, uint8_t out[16])
{
	if (!text || strlen(text) != 32)
		return false;
	for (size_t i = 0; i < 16; i++) {
		int hi = hex(text[2 * i]), lo = hex(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

void api_format_fingerprint(const uint8_t f[16], char out[33])
{
	for (size_t i = 0; i < 16; i++)
		snprintf(out + 2 * i, 3, "%02x", f[i]);
}

bool api_parse_traceparent(const char *text, char out[API_TRACE_SIZE])
{
	static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";

	_Static_assert(sizeof(form) == API_TRACE_SIZE, "size");
	*out = 0;
	if (!text || strlen(text) != API_TRACE_SIZE - 1)
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !strchr("0123456789abcdef", text[i]))
			return false;
	strcpy(out, text);
	return true;
}
