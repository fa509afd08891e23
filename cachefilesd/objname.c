// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/objname.h"

#include <stdint.h>
#include <string.h>

/* One row per first letter that the kernel has ever used (fs/cachefiles/key.c). */
static const struct {
	enum objname_kind kind; /* 0 = OBJNAME_SKIP: no such letter */
	bool may_be_file;
} letters[256] = {
	['I'] = {OBJNAME_INDEX, false},
	['J'] = {OBJNAME_INDEX, false},
	['@'] = {OBJNAME_INTERMEDIATE, false},
	['+'] = {OBJNAME_INTERMEDIATE, false},
	['D'] = {OBJNAME_OBJECT, true},
	['E'] = {OBJNAME_OBJECT, true},
	['S'] = {OBJNAME_OBJECT, true},
	['T'] = {OBJNAME_OBJECT, true},
};

enum objname_kind objname_classify(const char *name, enum objname_type type)
{
	unsigned char first = (unsigned char)name[0];

	if (letters[first].kind != OBJNAME_SKIP &&
		(type == OBJNAME_DIR || (type == OBJNAME_REG && letters[first].may_be_file)))
		return letters[first].kind;
	if (first == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		return OBJNAME_SKIP;
	return OBJNAME_ALIEN;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool objname_is_fanout(const char *name)
{
	return name[0] == '@' && hex_value(name[1]) >= 0 && hex_value(name[2]) >= 0 && !name[3];
}

struct text {
	char *p;
	size_t left;
};

static void put_byte(struct text *t, uint8_t b)
{
	static const char digits[] = "0123456789abcdef";

	if (t->left < 3)
		return;
	*t->p++ = digits[b >> 4];
	*t->p++ = digits[b & 15];
	*t->p = '\0';
	t->left -= 2;
}

/* Comma-separated 32-bit words in hexadecimal, an empty field is zero: after "S" big endian, after
 * "T" little endian. */
static bool decode_words(const char *s, bool little, struct text *t)
{
	for (;;) {
		uint32_t word = 0;
		size_t n = 0;

		for (; hex_value(*s) >= 0; s++) {
			word = word << 4 | (uint32_t)hex_value(*s);
			if (++n > 8)
				return false;
		}
		for (int i = 0; i < 4; i++)
			put_byte(t, (uint8_t)(word >> 8 * (little ? i : 3 - i)));
		if (!*s)
			return true;
		if (*s++ != ',')
			return false;
	}
}

static int base64_value(char c)
{
	static const char alphabet[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
	const char *p = c ? strchr(alphabet, c) : NULL;

	return p ? (int)(p - alphabet) : -1;
}

/* "E", the number of padding bytes as a digit, then 4 characters for each 3 bytes, least
 * significant 6 bits first. */
static bool decode_base64(const char *s, struct text *t)
{
	size_t len = strlen(s), n_bytes, pad;

	if (len < 5 || (len - 1) % 4 || s[0] < '0' || s[0] > '2')
		return false;
	pad = (size_t)(s[0] - '0');
	n_bytes = (len - 1) / 4 * 3 - pad;
	for (s++; *s; s += 4) {
		uint32_t acc = 0;

		for (int i = 0; i < 4; i++) {
			int v = base64_value(s[i]);

			if (v < 0)
				return false;
			acc |= (uint32_t)v << 6 * i;
		}
		for (int i = 0; i < 3 && n_bytes; i++, n_bytes--)
			put_byte(t, (uint8_t)(acc >> 8 * i));
	}
	return true;
}

bool objname_decode(const char *name, char *out, size_t cap)
{
	struct text t = {out, cap};

	if (!cap)
		return false;
	*out = '\0';
	switch (name[0]) {
	case 'D':
		for (name++; *name && t.left > 1; name++, t.left--) {
			if (*name < 33 || *name == 127)
				return false;
			*t.p++ = *name;
		}
		*t.p = '\0';
		return true;
	case 'S':
	case 'T':
		return decode_words(name + 1, name[0] == 'T', &t);
	case 'E':
		return decode_base64(name + 1, &t);
	default:
		return false;
	}
}
