// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/kstate.h"

#include <errno.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\0';
}

/* 1..16 hexadecimal digits in either case, nothing else */
static bool parse_hex(const char *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;

	if (!n || n > 16)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = p[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			digit = (unsigned)(c - 'A') + 10;
		else
			return false;
		v = v << 4 | digit;
	}
	*out = v;
	return true;
}

int kstate_parse(const char *text, size_t n, struct kstate *out)
{
	struct kstate s = {0};
	uint64_t cull = 0;
	struct {
		const char *key;
		uint64_t *value;
		bool seen;
	} keys[] = {
		{"cull", &cull, false},
		{"frun", &s.thresholds.files.run, false},
		{"fcull", &s.thresholds.files.cull, false},
		{"fstop", &s.thresholds.files.stop, false},
		{"brun", &s.thresholds.blocks.run, false},
		{"bcull", &s.thresholds.blocks.cull, false},
		{"bstop", &s.thresholds.blocks.stop, false},
		{"freleased", &s.n_released, false},
		{"breleased", &s.released_sectors, false},
	};
	const size_t n_keys = sizeof(keys) / sizeof(keys[0]);

	*out = s;
	for (size_t pos = 0; pos < n;) {
		const char *item = text + pos, *eq;
		size_t len = 0, key_len;

		while (pos + len < n && !is_blank(item[len]))
			len++;
		pos += len ? len : 1;
		if (!len)
			continue;
		eq = memchr(item, '=', len);
		key_len = eq ? (size_t)(eq - item) : len;
		for (size_t i = 0; i < n_keys; i++) {
			if (strlen(keys[i].key) != key_len || memcmp(keys[i].key, item, key_len))
				continue;
			if (!eq || !parse_hex(eq + 1, len - key_len - 1, keys[i].value))
				return -EINVAL;
			keys[i].seen = true;
		}
	}
	s.is_bound = keys[0].seen;
	s.cull = cull != 0;
	s.has_released = keys[7].seen;
	*out = s;
	return 0;
}
