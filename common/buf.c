/* SPDX-License-Identifier: GPL-2.0-or-later */
/* buf.c — see buf.h */
#include "common/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){0};
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	size_t need, cap;
	uint8_t *p;

	if (b->failed)
		return NULL;
	if (__builtin_add_overflow(b->len, n, &need) || __builtin_add_overflow(need, 1, &need))
		goto fail;
	if (need <= b->cap)
		return b->data + b->len;
	cap = b->cap ? b->cap : 64;
	while (cap < need) {
		if (__builtin_mul_overflow(cap, 2, &cap))
			goto fail;
	}
	p = realloc(b->data, cap);
	if (!p)
		goto fail;
	b->data = p;
	b->cap = cap;
	b->data[b->len] = 0;
	return b->data + b->len;
fail:
	b->failed = true;
	return NULL;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	uint8_t *d = buf_reserve(b, n);

	if (!d)
		return;
	if (n)
		memcpy(d, p, n);
	b->len += n;
	b->data[b->len] = 0;
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	uint8_t *d;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		b->failed = true;
	else {
		d = buf_reserve(b, (size_t)n);
		if (d) {
			vsnprintf((char *)d, (size_t)n + 1, fmt, again);
			b->len += (size_t)n;
		}
	}
	va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
	if (n > b->len)
		n = b->len;
	if (!n)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = 0;
}

void *buf_take(struct buf *b, size_t *len)
{
	void *p = b->data;

	if (len)
		*len = b->failed ? 0 : b->len;
	if (b->failed) {
		buf_fini(b);
		return NULL;
	}
	*b = (struct buf){0};
	return p;
}

void buf_json_string(struct buf *b, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t left = strlen(s);

	buf_addc(b, '"');
	while (left) {
		size_t n = utf8_sequence(p, left);

		if (!n) {
			buf_adds(b, "\xef\xbf\xbd");
			n = 1;
		} else if (*p == '"' || *p == '\\') {
			buf_addf(b, "\\%c", *p);
		} else if (*p < 0x20 || *p == 0x7f) {
			buf_addf(b, "\\u%04x", *p);
		} else {
			buf_add(b, p, n);
		}
		p += n;
		left -= n;
	}
	buf_addc(b, '"');
}
