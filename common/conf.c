/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conf.c — see conf.h. inih splits lines into section, key and value; what it would swallow in
 * silence (lines longer than its buffer, lines that are nothing, indented lines taken for
 * continuations) is caught by the reader below before inih sees it. */
#include "common/conf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <ini.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"

#define MAX_ERRORS     50
#define MAX_LIST_BYTES ((size_t)64 << 10)
#define MAX_SECTION    48 /* inih cuts section names at 49 */

struct parse {
	const struct conf_option *opts;
	size_t n;
	void *target;
	const char *file;
	const char *text, *end;
	struct conf_origin *origins;
	struct buf *errors;
	unsigned line;
	int n_errors;
	bool is_bad_section; /* its keys were reported by the section already */
};

__attribute__((format(printf, 2, 3))) static void report(struct parse *p, const char *fmt, ...)
{
	va_list ap;

	if (p->n_errors++ >= MAX_ERRORS)
		return;
	buf_addf(p->errors, "%s:%u: ", p->file, p->line);
	va_start(ap, fmt);
	buf_vaddf(p->errors, fmt, ap);
	va_end(ap);
	buf_addc(p->errors, '\n');
	if (p->n_errors == MAX_ERRORS)
		buf_addf(p->errors, "%s: too many errors, the rest is not shown\n", p->file);
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void *member(const struct conf_option *o, void *target)
{
	return (char *)target + o->offset;
}

__attribute__((format(printf, 2, 3))) static int refuse(char *reason, const char *fmt, ...)
{
	va_list ap;

	if (reason) {
		va_start(ap, fmt);
		vsnprintf(reason, NUM_REASON, fmt, ap);
		va_end(ap);
	}
	return -EINVAL;
}

static int parse_bool(const char *value, bool *out, char *reason)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strcasecmp(value, words[i])) {
			*out = i & 1;
			return 0;
		}
	}
	return refuse(reason, "\"%.40s\" is neither yes nor no", value);
}

static int parse_enum(const struct conf_option *o, const char *value, int *out, char *reason)
{
	char known[NUM_REASON] = "";
	size_t len = 0;

	for (int i = 0; o->names[i]; i++) {
		if (!strcmp(value, o->names[i])) {
			*out = i;
			return 0;
		}
		if (len < sizeof(known))
			len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
				i ? ", " : "", o->names[i]);
	}
	return refuse(reason, "\"%.40s\" is not one of: %.90s", value, known);
}

static int check_bounds(const struct conf_option *o, uint64_t v, char *reason)
{
	uint64_t max = o->max ? o->max : UINT64_MAX;
	char lo[NUM_TEXT], hi[NUM_TEXT];

	if (v >= o->min && v <= max)
		return 0;
	if (o->type == CONF_SIZE) {
		num_format_size(o->min, lo, sizeof(lo));
		num_format_size(max, hi, sizeof(hi));
	} else if (o->type == CONF_DURATION) {
		num_format_duration(o->min, lo, sizeof(lo));
		num_format_duration(max, hi, sizeof(hi));
	} else {
		snprintf(lo, sizeof(lo), "%" PRIu64, o->min);
		snprintf(hi, sizeof(hi), "%" PRIu64, max);
	}
	if (!o->max)
		return refuse(reason, "must be at least %s", lo);
	return refuse(reason, "must be between %s and %s", lo, hi);
}

/* add_items - the items of @value, trimmed and without empty ones, behind those of *list */
static int add_items(char **list, const char *value, char *reason)
{
	size_t old = *list ? strlen(*list) : 0, len = old;
	char *v;

	if (old + strlen(value) + 2 > MAX_LIST_BYTES)
		return refuse(reason, "the list is longer than %zu bytes", MAX_LIST_BYTES);
	v = realloc(*list, old + strlen(value) + 2);
	if (!v)
		return -ENOMEM;
	*list = v;
	while (*value) {
		size_t n;

		while (is_space(*value) || *value == ',')
			value++;
		n = strcspn(value, ",");
		while (n && is_space(value[n - 1]))
			n--;
		if (!n)
			continue;
		if (len)
			v[len++] = ',';
		memcpy(v + len, value, n);
		len += n;
		value += n;
	}
	v[len] = 0;
	return 0;
}

/* set - one value; @append: a list grows, else it is replaced */
static int set(
	const struct conf_option *o, void *target, const char *value, bool append, char *reason)
{
	void *m = member(o, target);
	char *copy = NULL;
	uint64_t v;
	int r;

	switch (o->type) {
	case CONF_STRING:
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
		free(*(char **)m);
		*(char **)m = copy;
		return 0;
	case CONF_LIST:
		if (append)
			return add_items(m, value, reason);
		r = add_items(&copy, value, reason);
		if (r)
			return r;
		free(*(char **)m);
		*(char **)m = copy;
		return 0;
	case CONF_BOOL:
		return parse_bool(value, m, reason);
	case CONF_ENUM:
		return parse_enum(o, value, m, reason);
	case CONF_U64:
		r = num_u64(value, 0, UINT64_MAX, &v, reason);
		break;
	case CONF_SIZE:
		r = num_size(value, &v, reason);
		break;
	case CONF_DURATION:
		r = num_duration(value, &v, reason);
		break;
	default:
		return refuse(reason, "the table of options has a row of an unknown type");
	}
	if (r)
		return r;
	r = check_bounds(o, v, reason);
	if (r)
		return r;
	*(uint64_t *)m = v;
	return 0;
}

static void clear(const struct conf_option *o, void *target)
{
	void *m = member(o, target);

	switch (o->type) {
	case CONF_STRING:
	case CONF_LIST:
		*(char **)m = NULL;
		break;
	case CONF_BOOL:
		*(bool *)m = false;
		break;
	case CONF_ENUM:
		*(int *)m = 0;
		break;
	default:
		*(uint64_t *)m = 0;
	}
}

int conf_defaults(const struct conf_option *opts, size_t n, void *target)
{
	for (size_t i = 0; i < n; i++)
		clear(&opts[i], target);
	for (size_t i = 0; i < n; i++) {
		int r = opts[i].def ? set(&opts[i], target, opts[i].def, false, NULL) : 0;

		if (r) {
			conf_fini(opts, n, target);
			return r == -ENOMEM ? r : -EINVAL;
		}
	}
	return 0;
}

int conf_set(const struct conf_option *opt, void *target, const char *value, char *reason)
{
	return set(opt, target, value, false, reason);
}

void conf_fini(const struct conf_option *opts, size_t n, void *target)
{
	for (size_t i = 0; i < n; i++) {
		if (opts[i].type == CONF_STRING || opts[i].type == CONF_LIST) {
			char **s = member(&opts[i], target);

			free(*s);
			*s = NULL;
		}
	}
}

void conf_format(const struct conf_option *opt, const void *target, struct buf *out)
{
	const void *m = (const char *)target + opt->offset;
	char text[NUM_TEXT];

	switch (opt->type) {
	case CONF_STRING:
	case CONF_LIST:
		buf_adds(out, *(char *const *)m ? *(char *const *)m : "");
		break;
	case CONF_BOOL:
		buf_adds(out, *(const bool *)m ? "yes" : "no");
		break;
	case CONF_ENUM:
		buf_adds(out, opt->names[*(const int *)m]);
		break;
	case CONF_DURATION:
		buf_adds(out, num_format_duration(*(const uint64_t *)m, text, sizeof(text)));
		break;
	case CONF_SIZE: {
		/* the largest unit that says it without a fraction */
		static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB", "PiB"};
		uint64_t v = *(const uint64_t *)m;
		size_t u = 0;

		while (v && v % 1024 == 0 && u + 1 < ARRAY_SIZE(units)) {
			v /= 1024;
			u++;
		}
		buf_addf(out, "%" PRIu64 "%s", v, units[u]);
		break;
	}
	default:
		buf_addf(out, "%" PRIu64, *(const uint64_t *)m);
	}
}

/* ---- the file ------------------------------------------------------------------------------ */

static bool has_section(const struct parse *p, const char *name, size_t len)
{
	for (size_t i = 0; i < p->n; i++)
		if (strlen(p->opts[i].section) == len && !memcmp(p->opts[i].section, name, len))
			return true;
	return false;
}

/* check_section - @s is what follows '['; false: reported */
static bool check_section(struct parse *p, const char *s, size_t len)
{
	const char *close = memchr(s, ']', len);
	struct buf known = {0};

	p->is_bad_section = true;
	if (!close) {
		report(p, "the section's name is not closed by ]");
		return false;
	}
	len = (size_t)(close - s);
	if (len <= MAX_SECTION && has_section(p, s, len)) {
		p->is_bad_section = false;
		return true;
	}
	for (size_t i = 0; i < p->n; i++) {
		const char *name = p->opts[i].section;
		size_t j;

		for (j = 0; j < i && strcmp(p->opts[j].section, name) != 0; j++)
			;
		if (j == i && *name)
			buf_addf(&known, "%s[%s]", known.len ? ", " : "", name);
	}
	report(p, "unknown section [%.*s]; known are %s", len < 60 ? (int)len : 60, s,
		buf_str(&known));
	p->errors->failed |= known.failed;
	buf_fini(&known);
	return false;
}

/* check_line - would inih understand this line as it was meant? */
static bool check_line(struct parse *p, const char *s, size_t len)
{
	size_t i;

	if (!len || *s == '#' || *s == ';')
		return true;
	if (*s == '[')
		return check_section(p, s + 1, len - 1);
	if (p->is_bad_section)
		return false;
	for (i = 0; i < len && s[i] != '=' && s[i] != ':'; i++)
		if (s[i] == ';' && i && is_space(s[i - 1]))
			i = len - 1; /* the rest is a comment */
	if (!i) {
		report(p, "a key is missing before \"%c\"", *s);
		return false;
	}
	if (i >= len) {
		report(p, "\"%.*s\" is neither \"key = value\" nor [section] nor a comment",
			len < 60 ? (int)len : 60, s);
		return false;
	}
	return true;
}

/* read_line - inih's reader (fgets): one checked line, without indentation, or an empty one in the
 * place of one that must not be seen */
static char *read_line(char *out, int cap, void *stream)
{
	struct parse *p = stream;
	const char *s = p->text, *nl;
	size_t len;

	if (s == p->end)
		return NULL;
	nl = memchr(s, '\n', (size_t)(p->end - s));
	len = (size_t)((nl ? nl : p->end) - s);
	p->text = nl ? nl + 1 : p->end;
	p->line++;
	*out = 0;
	if (p->line == 1 && len >= 3 && !memcmp(s, "\xef\xbb\xbf", 3)) {
		s += 3;
		len -= 3;
	}
	while (len && is_space(s[len - 1]))
		len--;
	while (len && is_space(*s)) {
		s++;
		len--;
	}
	for (size_t i = 0; i < len; i++) {
		if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f) {
			report(p, "control character 0x%02x in the line", (unsigned char)s[i]);
			return out;
		}
	}
	if (len && (*s == '#' || *s == ';')) /* of any length */
		return out;
	if (len >= (size_t)cap) {
		report(p,
			"the line has %zu bytes, more than the %d that can be read; a list may be split by repeating its key",
			len, cap - 1);
		return out;
	}
	if (!check_line(p, s, len))
		return out;
	memcpy(out, s, len);
	out[len] = 0;
	return out;
}

static void report_unknown(struct parse *p, const char *section, const char *name)
{
	struct buf known = {0};

	for (size_t i = 0; i < p->n; i++)
		if (!strcmp(p->opts[i].section, section))
			buf_addf(&known, "%s%s", known.len ? ", " : "", p->opts[i].key);
	p->errors->failed |= known.failed;
	if (known.len)
		report(p, "unknown key \"%.60s\" in [%s]; known are %s", name, section,
			buf_str(&known));
	else
		report(p, "\"%.60s\" stands before any [section]", name);
	buf_fini(&known);
}

static int handle(void *user, const char *section, const char *name, const char *value)
{
	struct parse *p = user;
	const struct conf_option *o = NULL;
	char reason[NUM_REASON] = "";
	bool seen;
	size_t i;
	int r;

	for (i = 0; i < p->n && !o; i++)
		if (!strcmp(p->opts[i].section, section) && !strcmp(p->opts[i].key, name))
			o = &p->opts[i];
	if (!o) {
		report_unknown(p, section, name);
		return 1;
	}
	i = (size_t)(o - p->opts);
	seen = p->origins[i].line != 0;
	if (seen && o->type != CONF_LIST) {
		report(p, "%s is set twice, first in line %u; remove one of the two", name,
			p->origins[i].line);
		return 1;
	}
	r = set(o, p->target, value, seen, reason);
	if (r == -ENOMEM)
		p->errors->failed = true;
	else if (r)
		report(p, "%s = %.60s: %s", name, value, reason);
	if (!seen)
		p->origins[i].line = p->line;
	return 1;
}

int conf_parse(const struct conf_option *opts, size_t n, void *target, const char *file,
	const char *text, size_t len, struct conf_origin *origins, struct buf *errors)
{
	_cleanup_free_ struct conf_origin *own = NULL;
	struct parse p = {
		.opts = opts,
		.n = n,
		.target = target,
		.file = file,
		.text = text,
		.end = text + len,
		.origins = origins,
		.errors = errors,
	};
	int r;

	if (!origins) {
		own = calloc(n ? n : 1, sizeof(*own));
		if (!own)
			return -ENOMEM;
		p.origins = own;
	} else {
		memset(origins, 0, n * sizeof(*origins));
	}
	r = ini_parse_stream(read_line, &p, handle, &p);
	if (r == -2 || !buf_ok(errors)) /* inih's out of memory, and ours */
		return -ENOMEM;
	if (r > 0 && !p.n_errors) {
		p.line = (unsigned)r;
		report(&p, "the line is not understood");
	}
	return p.n_errors;
}

static void blank_lines(char *text, size_t len, const char *section, bool inside)
{
	size_t name_len = strlen(section);
	bool is_in = false;

	for (char *line = text, *end = text + len; line < end;) {
		char *nl = memchr(line, '\n', (size_t)(end - line)), *stop = nl ? nl : end,
		     *p = line;

		while (p < stop && is_space(*p))
			p++;
		if (p < stop && *p == '[')
			is_in = (size_t)(stop - p) >= name_len + 2 &&
				!memcmp(p + 1, section, name_len) && p[1 + name_len] == ']';
		if (is_in == inside)
			memset(line, ' ', (size_t)(stop - line));
		line = stop + 1;
	}
}

void conf_keep_section(char *text, size_t len, const char *section)
{
	blank_lines(text, len, section, false);
}

void conf_drop_section(char *text, size_t len, const char *section)
{
	blank_lines(text, len, section, true);
}
