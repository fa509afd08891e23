/* SPDX-License-Identifier: GPL-2.0-or-later */
/* utf8.h — is this text UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF)? Pure. */
#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* utf8_sequence - length (1..4) of the sequence at @p, 0 if it is not valid within @n bytes */
static inline size_t utf8_sequence(const uint8_t *p, size_t n)
{
	static const uint32_t min[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len;
	uint32_t cp;

	if (!n)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (len > n)
		return 0;
	cp = p[0] & (0x7f >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	if (cp < min[len] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	return len;
}

static inline bool utf8_valid(const void *s, size_t n)
{
	const uint8_t *p = s;

	while (n) {
		size_t k = utf8_sequence(p, n);

		if (!k)
			return false;
		p += k;
		n -= k;
	}
	return true;
}

#endif
