/* SPDX-License-Identifier: GPL-2.0-or-later */
/* num.c — see num.h */
#include "common/num.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"

typedef unsigned __int128 u128;

__attribute__((format(printf, 3, 4))) static int fail(int err, char *reason, const char *fmt, ...)
{
	va_list ap;

	if (reason) {
		va_start(ap, fmt);
		vsnprintf(reason, NUM_REASON, fmt, ap);
		va_end(ap);
	}
	return err;
}

/* own tests of characters: the locale has no say in a grammar */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* digits - the run of digits at *@p, which moves behind it; false: larger than 64 bits */
static bool digits(const char **p, uint64_t *out)
{
	bool fits = true;
	uint64_t v = 0;

	for (; is_digit(**p); (*p)++)
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
			fits = false;
	*out = v;
	return fits;
}

int num_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out, char *reason)
{
	const char *p = text;
	uint64_t v;
	bool fits;

	if (!*text)
		return fail(-EINVAL, reason, "empty, a whole number is needed");
	fits = digits(&p, &v);
	if (*p)
		return fail(-EINVAL, reason, "\"%.40s\" is not a whole number (digits only)", text);
	if (!fits)
		return fail(-ERANGE, reason, "%.40s is larger than any 64-bit number", text);
	if (v < min || v > max)
		return fail(-ERANGE, reason, "%" PRIu64 " is not between %" PRIu64 " and %" PRIu64,
			v, min, max);
	*out = v;
	return 0;
}

int num_size(const char *text, uint64_t *bytes, char *reason)
{
	static const struct {
		const char *name;
		uint64_t factor;
	} units[] = {
		{"b", 1},
		{"k", 1000},
		{"kb", 1000},
		{"m", 1000000},
		{"mb", 1000000},
		{"g", 1000000000},
		{"gb", 1000000000},
		{"t", 1000000000000},
		{"tb", 1000000000000},
		{"p", 1000000000000000},
		{"pb", 1000000000000000},
		{"ki", 1ull << 10},
		{"kib", 1ull << 10},
		{"mi", 1ull << 20},
		{"mib", 1ull << 20},
		{"gi", 1ull << 30},
		{"gib", 1ull << 30},
		{"ti", 1ull << 40},
		{"tib", 1ull << 40},
		{"pi", 1ull << 50},
		{"pib", 1ull << 50},
	};
	const char *p = text, *unit;
	size_t n, n_points = 0;
	char number[64];
	locale_t c_locale;
	uint64_t whole;
	double v;

	if (!*text)
		return fail(-EINVAL, reason, "empty, a size such as 4MiB is needed");
	if (digits(&p, &whole)) {
		if (!*p) {
			*bytes = whole;
			return 0;
		}
	} else if (!*p) {
		return fail(
			-ERANGE, reason, "%.40s is larger than any 64-bit number of bytes", text);
	}
	for (n = 0; is_digit(text[n]) || text[n] == '.'; n++)
		n_points += text[n] == '.';
	if (n == n_points || n_points > 1 || n >= sizeof(number))
		return fail(-EINVAL, reason,
			"\"%.40s\" does not begin with a number; a size is, for example, 4194304, 4MiB or 1.5GiB",
			text);
	unit = text + n;
	while (is_space(*unit))
		unit++;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcasecmp(unit, units[i].name) != 0)
			continue;
		memcpy(number, text, n);
		number[n] = 0;
		/* the same double arithmetic as bytesize, in no locale but C; newlocale() of "C"
		 * allocates nothing and cannot fail */
		c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
		v = strtod_l(number, NULL, c_locale) * (double)units[i].factor;
		freelocale(c_locale);
		if (v >= 18446744073709551616.0)
			return fail(-ERANGE, reason,
				"%.40s is larger than any 64-bit number of bytes", text);
		*bytes = (uint64_t)v;
		return 0;
	}
	return fail(-EINVAL, reason,
		"\"%.40s\" is not a unit of size; known are B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB and PiB",
		unit);
}

#define SEC 1000000000ull

static const struct {
	const char *name;
	uint64_t ns;
} time_units[] = {
	{"nanos", 1},
	{"nsec", 1},
	{"ns", 1},
	{"usec", 1000},
	{"us", 1000},
	{"\xc2\xb5s", 1000},
	{"millis", 1000000},
	{"msec", 1000000},
	{"ms", 1000000},
	{"seconds", SEC},
	{"second", SEC},
	{"secs", SEC},
	{"sec", SEC},
	{"s", SEC},
	{"minutes", 60 * SEC},
	{"minute", 60 * SEC},
	{"mins", 60 * SEC},
	{"min", 60 * SEC},
	{"m", 60 * SEC},
	{"hours", 3600 * SEC},
	{"hour", 3600 * SEC},
	{"hrs", 3600 * SEC},
	{"hr", 3600 * SEC},
	{"h", 3600 * SEC},
	{"days", 86400 * SEC},
	{"day", 86400 * SEC},
	{"d", 86400 * SEC},
	{"weeks", 604800 * SEC},
	{"week", 604800 * SEC},
	{"wks", 604800 * SEC},
	{"wk", 604800 * SEC},
	{"w", 604800 * SEC},
	{"months", 2630016 * SEC},
	{"month", 2630016 * SEC},
	{"M", 2630016 * SEC},
	{"years", 31557600 * SEC},
	{"year", 31557600 * SEC},
	{"yrs", 31557600 * SEC},
	{"yr", 31557600 * SEC},
	{"y", 31557600 * SEC},
};

/* fraction - the digits after a decimal point as @unit's share, rounded down */
static uint64_t fraction(const char *p, const char *end, uint64_t unit)
{
	/* a unit is below 2^55 and 18 digits below 2^60: no overflow; what later digits add is less
	 * than a nanosecond */
	u128 v = 0, scale = 1;

	for (size_t i = 0; p < end && i < 18; p++, i++) {
		v = v * 10 + (unsigned)(*p - '0');
		scale *= 10;
	}
	return (uint64_t)(v * unit / scale);
}

int num_duration(const char *text, uint64_t *ns, char *reason)
{
	const char *p = text;
	uint64_t total = 0;
	bool any = false;

	if (!strcmp(text, "0")) {
		*ns = 0;
		return 0;
	}
	for (;;) {
		const char *frac = NULL, *frac_end = NULL, *unit;
		uint64_t n, factor = 0;
		size_t len = 0;
		bool fits;

		while (is_space(*p))
			p++;
		if (!*p)
			break;
		if (!is_digit(*p))
			return fail(-EINVAL, reason,
				"a number is expected at byte %zu of \"%.40s\"; a duration is, for example, 1h30m or 90s",
				(size_t)(p - text), text);
		any = true;
		fits = digits(&p, &n);
		if (*p == '.') {
			frac = ++p;
			while (is_digit(*p))
				p++;
			frac_end = p;
			if (frac == frac_end)
				return fail(-EINVAL, reason,
					"a digit is needed on both sides of the point in \"%.40s\"",
					text);
		}
		while (is_space(*p))
			p++;
		unit = p;
		while (is_letter(*p) || (unsigned char)*p >= 0x80)
			p++;
		len = (size_t)(p - unit);
		if (!len)
			return fail(-EINVAL, reason,
				*p && !is_digit(*p)
					? "an invalid character at byte %zu of \"%.40s\""
					: "a unit is needed at byte %zu of \"%.40s\", for example 90s or 90ms",
				(size_t)(unit - text), text);
		for (size_t i = 0; i < ARRAY_SIZE(time_units); i++)
			if (strlen(time_units[i].name) == len &&
				!memcmp(time_units[i].name, unit, len))
				factor = time_units[i].ns;
		if (!factor)
			return fail(-EINVAL, reason,
				"\"%.*s\" is not a unit of time; known are ns, us, ms, s, m, h, d, w, M (months) and y",
				len < 40 ? (int)len : 40, unit);
		if (!fits || __builtin_mul_overflow(n, factor, &n) ||
			__builtin_add_overflow(total, n, &total) ||
			(frac && __builtin_add_overflow(
					 total, fraction(frac, frac_end, factor), &total)))
			return fail(-ERANGE, reason, "\"%.40s\" is longer than 584 years", text);
	}
	if (!any)
		return fail(-EINVAL, reason, "empty, a duration such as 1h30m is needed");
	*ns = total;
	return 0;
}

int num_percent(const char *text, unsigned *pct, char *reason)
{
	const char *p = text;
	uint64_t v;
	bool fits;

	fits = digits(&p, &v);
	if (p == text || strcmp(p, "%") != 0)
		return fail(-EINVAL, reason, "\"%.40s\" is not a percentage such as 10%%", text);
	if (!fits || v > 100)
		return fail(-ERANGE, reason, "%.40s is more than 100%%", text);
	*pct = (unsigned)v;
	return 0;
}

char *num_format_size(uint64_t bytes, char *out, size_t cap)
{
	/* bytesize takes the exponent as floor(ln(size) / 6.907755279), a little more than ln(1000):
	 * the smallest sizes that it gives to M, G, T, P and E. Integers, because the decimal point
	 * of printf() belongs to the locale. */
	static const uint64_t from[] = {
		1000001, 1000000001, 1000000000072, 1000000000089315, 1000000000107178000};
	unsigned exponent = 1;
	uint64_t whole, unit;
	u128 rest, tenths;

	if (bytes < 1024) {
		snprintf(out, cap, "%" PRIu64 " B", bytes);
		return out;
	}
	for (size_t i = 0; i < ARRAY_SIZE(from); i++)
		if (bytes >= from[i])
			exponent = (unsigned)i + 2;
	unit = 1ull << (10 * exponent);
	whole = bytes / unit;
	rest = (u128)(bytes % unit) * 10;
	tenths = rest / unit;
	rest %= unit;
	if (rest > unit / 2 || (rest == unit / 2 && (tenths & 1))) /* half to even, as printf */
		tenths++;
	whole += (uint64_t)(tenths / 10);
	snprintf(out, cap, "%" PRIu64 ".%u %ciB", whole, (unsigned)(tenths % 10),
		" kMGTPE"[exponent]);
	return out;
}

char *num_format_duration(uint64_t ns, char *out, size_t cap)
{
	static const struct {
		uint64_t ns;
		const char *one, *many;
	} parts[] = {
		{31557600 * SEC, "year", "years"},
		{2630016 * SEC, "month", "months"},
		{86400 * SEC, "day", "days"},
		{3600 * SEC, "h", "h"},
		{60 * SEC, "m", "m"},
		{SEC, "s", "s"},
		{1000000, "ms", "ms"},
		{1000, "us", "us"},
		{1, "ns", "ns"},
	};
	size_t len = 0;

	if (!ns)
		snprintf(out, cap, "0s");
	for (size_t i = 0; i < ARRAY_SIZE(parts) && len < cap; i++) {
		uint64_t n = ns / parts[i].ns;

		ns %= parts[i].ns;
		if (!n)
			continue;
		len += (size_t)snprintf(out + len, cap - len, "%s%" PRIu64 "%s", len ? " " : "", n,
			n == 1 ? parts[i].one : parts[i].many);
	}
	return out;
}
