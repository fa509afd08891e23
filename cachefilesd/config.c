/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config.c — see config.h. Grammar and messages: cachefiles.md §2.3 (the old daemon), §7 1-17. */
#include "cachefilesd/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/num.h"

enum kind {
	KIND_DIR,
	KIND_TEXT, /* once, the rest of the line */
	KIND_LIMIT, /* percent of a limit */
	KIND_CULLTABLE,
	KIND_RESUME,
	KIND_RAW, /* a number for the kernel */
	KIND_FLAG,
	KIND_PERCENT, /* 0..99, ours */
	KIND_SIZE,
	KIND_DURATION,
	KIND_REFUSED,
};

struct word {
	struct config_word w;
	enum kind kind;
	size_t offset;
};

#define AT(m) offsetof(struct config, m)
/* clang-format off: one row, one line */
static const struct word words[] = {
	/* the old words */
	{{"dir", "PATH", false, true}, KIND_DIR, AT(dir)},
	{{"tag", "NAME", false, true}, KIND_TEXT, AT(tag)},
	{{"secctx", "CONTEXT", false, true}, KIND_TEXT, AT(secctx)},
	{{"brun", "N%", false, false}, KIND_LIMIT, AT(limits.blocks.run)},
	{{"bcull", "N%", false, false}, KIND_LIMIT, AT(limits.blocks.cull)},
	{{"bstop", "N%", false, false}, KIND_LIMIT, AT(limits.blocks.stop)},
	{{"frun", "N%", false, false}, KIND_LIMIT, AT(limits.files.run)},
	{{"fcull", "N%", false, false}, KIND_LIMIT, AT(limits.files.cull)},
	{{"fstop", "N%", false, false}, KIND_LIMIT, AT(limits.files.stop)},
	{{"culltable", "N", false, true}, KIND_CULLTABLE, AT(culltable)},
	{{"nocull", NULL, false, false}, KIND_FLAG, AT(nocull)},
	{{"resume_thresholds", "BLOCKS FILES", false, false}, KIND_RESUME, 0},
	{{"debug", "MASK", false, true}, KIND_RAW, 0},
	/* ours */
	{{"nokernel", NULL, true, true}, KIND_FLAG, AT(nokernel)},
	{{"store", NULL, true, true}, KIND_FLAG, AT(store)},
	{{"socket", "PATH", true, true}, KIND_TEXT, AT(socket)},
	{{"socket_group", "GROUP", true, true}, KIND_TEXT, AT(socket_group)},
	{{"store_user", "USER", true, false}, KIND_TEXT, AT(store_user)},
	{{"pins_max", "N%", true, false}, KIND_PERCENT, AT(pins_max_pct)},
	{{"pins_uid_max", "N%", true, false}, KIND_PERCENT, AT(pins_uid_max_pct)},
	{{"tasks_max_size", "SIZE", true, false}, KIND_SIZE, AT(tasks_max_size)},
	{{"tasks_max_age", "DURATION", true, false}, KIND_DURATION, AT(tasks_max_age_ns)},
	{{"kernel_max_size", "SIZE", true, false}, KIND_SIZE, AT(kernel_max_size)},
	{{"kernel_max_age", "DURATION", true, false}, KIND_DURATION, AT(kernel_max_age_ns)},
	{{"client_max_reserve", "SIZE", true, false}, KIND_SIZE, AT(client_max_reserve)},
	{{"grace", "DURATION", true, false}, KIND_DURATION, AT(grace_ns)},
	{{"overshoot", "N%", true, false}, KIND_PERCENT, AT(overshoot_pct)},
	{{"fsverity", NULL, true, false}, KIND_FLAG, AT(fsverity)},
	{{"allow_foreign", NULL, true, true}, KIND_FLAG, AT(allow_foreign)},
};
/* clang-format on */

/* words that are known and have no business in a file */
static const char *const refused[] = {"bind", "cull", "inuse", "copen", "restore"};

struct parser {
	const char *file;
	unsigned line;
	struct config *c;
	struct buf *errors, *warnings;
	int n_errors;
	bool out_of_memory;
	unsigned seen[ARRAY_SIZE(words)]; /* line of the first occurrence */
};

static void report(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void report(struct parser *p, const char *fmt, ...)
{
	va_list ap;

	buf_addf(p->errors, "%s:%u:", p->file, p->line);
	va_start(ap, fmt);
	buf_vaddf(p->errors, fmt, ap);
	va_end(ap);
	buf_addc(p->errors, '\n');
	p->n_errors++;
}

static void warn(struct parser *p, const char *what)
{
	buf_addf(p->warnings, "%s:%u:%s\n", p->file, p->line, what);
}

static void set_text(struct parser *p, char **to, const char *value)
{
	char *copy = strdup(value);

	if (!copy) {
		p->out_of_memory = true;
		return;
	}
	free(*to);
	*to = copy;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_decimal(const char *s)
{
	return *s && strspn(s, "0123456789") == strlen(s);
}

static void value_limit(struct parser *p, const char *name, unsigned *to, const char *v)
{
	char digits[8] = "";
	size_t n = strspn(v, "0123456789");

	if (!n || v[n] != '%' || v[n + 1]) {
		report(p, "%s: \"%s\" is not a percentage: digits and then %%, for example %s 7%%",
			name, v, name);
		return;
	}
	if (n >= sizeof(digits)) {
		report(p, "%s: %s is more than 100%%", name, v);
		return;
	}
	memcpy(digits, v, n);
	if (atoi(digits) >= 100) {
		report(p, "%s: %s is not below 100%%", name, v);
		return;
	}
	*to = (unsigned)atoi(digits);
}

static void value_culltable(struct parser *p, const char *v)
{
	uint64_t n;

	if (!is_decimal(v) || num_u64(v, 0, UINT64_MAX, &n, NULL))
		report(p,
			"Invalid cull table size number: \"%s\", a decimal from 12 to 20 is "
			"expected",
			v);
	else if (n < 12 || n > 20)
		report(p, "Log2 of cull table size must be 12 <= N <= 20, not %s", v);
	else
		p->c->culltable = (unsigned)n;
}

static bool threshold(struct parser *p, const char *v, const char *which, int64_t *out)
{
	uint64_t n;

	if (strcmp(v, "-") == 0) {
		*out = CONFIG_RESUME_NONE;
		return true;
	}
	if (!is_decimal(v) || num_u64(v, 0, INT64_MAX, &n, NULL)) {
		report(p,
			"Error parsing resume threshold (%s): \"%s\", a decimal number or - is "
			"expected",
			which, v);
		return false;
	}
	if (!n) {
		report(p,
			"Invalid resume threshold (%s): 0, it must be at least 1, or - to ignore "
			"them",
			which);
		return false;
	}
	*out = (int64_t)n;
	return true;
}

static void value_resume(struct parser *p, char *v)
{
	int64_t blocks, files;
	char *second = v + strcspn(v, " \t");

	if (*second) {
		*second++ = '\0';
		second += strspn(second, " \t");
	}
	if (!*second) {
		report(p, "Error parsing resume threshold (files): there is none, two values are "
			  "expected: resume_thresholds BLOCKS FILES");
		return;
	}
	if (threshold(p, v, "blocks", &blocks) && threshold(p, second, "files", &files)) {
		p->c->resume_blocks = blocks;
		p->c->resume_files = files;
	}
}

/* a C number, as the kernel takes it; empty is 0 */
static void value_raw(struct parser *p, const char *name, const char *v)
{
	_cleanup_free_ char *line = NULL;
	char *end, **raw;

	errno = 0;
	strtoul(v, &end, 0);
	if (*v && (*end || errno || !isdigit((unsigned char)*v))) {
		report(p, "%s: \"%s\" is not a number (decimal, 0x… or 0…)", name, v);
		return;
	}
	raw = realloc(p->c->raw, (p->c->n_raw + 1) * sizeof(*raw));
	if (raw)
		p->c->raw = raw;
	if (!raw || asprintf(&line, "%s %s", name, *v ? v : "0") < 0) {
		line = NULL;
		p->out_of_memory = true;
		return;
	}
	raw[p->c->n_raw++] = take_ptr(&line);
}

static void value_dir(struct parser *p, const char *v)
{
	if (strlen(v) > PATH_MAX - 10) {
		report(p, "Cache pathname is too long: %zu bytes, at most %d are possible",
			strlen(v), PATH_MAX - 10);
		return;
	}
	set_text(p, &p->c->dir, v);
	p->c->dir_line = p->line;
}

static void value_number(struct parser *p, const struct word *w, void *to, const char *v)
{
	char reason[NUM_REASON];
	unsigned pct;
	int rc;

	if (w->kind == KIND_PERCENT) {
		rc = num_percent(v, &pct, reason);
		if (!rc && pct > 99) {
			snprintf(reason, sizeof(reason), "it is not below 100%%");
			rc = -ERANGE;
		}
		if (!rc)
			*(unsigned *)to = pct;
	} else if (w->kind == KIND_SIZE) {
		rc = num_size(v, to, reason);
	} else {
		rc = num_duration(v, to, reason);
	}
	if (rc)
		report(p, "%s: \"%s\": %s", w->w.name, v, reason);
}

static void set_value(struct parser *p, const struct word *w, char *v)
{
	void *to = (char *)p->c + w->offset;

	switch (w->kind) {
	case KIND_DIR:
		value_dir(p, v);
		break;
	case KIND_TEXT:
		set_text(p, to, v);
		break;
	case KIND_LIMIT:
		value_limit(p, w->w.name, to, v);
		break;
	case KIND_CULLTABLE:
		value_culltable(p, v);
		break;
	case KIND_RESUME:
		value_resume(p, v);
		break;
	case KIND_RAW:
		value_raw(p, w->w.name, v);
		break;
	case KIND_FLAG:
		*(bool *)to = true;
		break;
	default:
		value_number(p, w, to, v);
	}
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void unknown_word(struct parser *p, const char *name)
{
	if (strcmp(name, "bind") == 0) {
		report(p, "'bind' command not permitted: the daemon binds the cache itself");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (strcmp(name, refused[i]) == 0) {
			report(p, "'%s' command not permitted: it is for a cache that is bound",
				name);
			return;
		}
	}
	report(p,
		"unknown command \"%.64s\" (cachefilesd.conf(5) lists those that exist, in lower "
		"case)",
		name);
}

/* @s: one line without its end and without blanks before it; blanks at its end are still there */
static void command(struct parser *p, char *s)
{
	size_t n = strcspn(s, " \t"), len;
	const struct word *w = NULL;
	char *v = s + n;

	if (*v) {
		*v++ = '\0';
		v += strspn(v, " \t");
	}
	for (size_t i = 0; i < ARRAY_SIZE(words) && !w; i++)
		if (strcmp(words[i].w.name, s) == 0)
			w = &words[i];
	if (!w) {
		unknown_word(p, s);
		return;
	}
	/* the directory may really have a name that ends in a blank: whoever opens it finds out */
	len = strlen(v);
	if (len && (v[len - 1] == ' ' || v[len - 1] == '\t')) {
		warn(p, "blanks at the end of the line");
		while (w->kind != KIND_DIR && len && (v[len - 1] == ' ' || v[len - 1] == '\t'))
			v[--len] = '\0';
	}
	if (!*v && w->w.argument && w->kind != KIND_RAW) {
		report(p, "%s needs a value: %s %s", s, s, w->w.argument);
		return;
	}
	if (*v && !w->w.argument) {
		report(p, "%s takes no value, but \"%s\" follows", s, v);
		return;
	}
	if (w->kind == KIND_DIR || w->kind == KIND_TEXT) {
		unsigned *first = &p->seen[w - words];

		if (*first) {
			report(p, "%s is given twice, first in line %u", s, *first);
			return;
		}
		*first = p->line;
	}
	set_value(p, w, v);
}

static void line(struct parser *p, const char *at, size_t n, bool terminated)
{
	_cleanup_free_ char *copy = NULL;
	size_t blanks = 0;

	if (memchr(at, 0, n)) {
		report(p, "Line contains a NUL character");
		return;
	}
	while (blanks < n && isblank((unsigned char)at[blanks]))
		blanks++;
	if (blanks == n || at[blanks] == '#')
		return;
	if (at[n - 1] == '\r') {
		n--;
		if (blanks == n)
			return;
		warn(p, "the line ends in CR LF");
	}
	if (n + 1 >= CONFIG_LINE_MAX + (size_t)!terminated) {
		report(p, "Line too long: %zu bytes, at most %d are possible", n,
			CONFIG_LINE_MAX - 2);
		return;
	}
	if (!terminated)
		warn(p, "Unterminated line: the last line has no newline");
	if (blanks)
		warn(p, "blanks before the command");
	copy = strndup(at + blanks, n - blanks);
	if (copy)
		command(p, copy);
	else
		p->out_of_memory = true;
}

/* ---- all of it ------------------------------------------------------------------------------- */

void config_defaults(struct config *c)
{
	*c = (struct config){.limits = LIMITS_DEFAULT,
		.culltable = 12,
		.resume_blocks = CONFIG_RESUME_NONE,
		.resume_files = 5,
		.grace_ns = 10000000000ull};
}

void config_fini(struct config *c)
{
	char **texts[] = {
		&c->dir, &c->tag, &c->secctx, &c->socket, &c->socket_group, &c->store_user};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		free(*texts[i]);
		*texts[i] = NULL;
	}
	for (size_t i = 0; i < c->n_raw; i++)
		free(c->raw[i]);
	free(c->raw);
	c->raw = NULL;
	c->n_raw = 0;
}

int config_parse(const char *file, const char *text, size_t len, struct config *c,
	struct buf *errors, struct buf *warnings)
{
	struct parser p = {.file = file, .c = c, .errors = errors, .warnings = warnings};
	char reason[LIMITS_REASON];

	config_defaults(c);
	if (len > CONFIG_TEXT_MAX) {
		p.line = 1;
		report(&p, "the file is longer than 1 MiB");
		return p.n_errors;
	}
	for (size_t at = 0; at < len;) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t n = nl ? (size_t)(nl - (text + at)) : len - at;

		p.line++;
		if (n)
			line(&p, text + at, n, nl != NULL);
		at += n + 1;
	}
	if (!p.n_errors && limits_check(&c->limits, reason))
		report(&p, "the limits do not fit together: %s", reason);
	if (!p.n_errors && !c->dir) {
		p.line = p.line ? p.line : 1;
		report(&p, "there is no dir command: dir PATH names the cache directory");
	}
	if (c->socket)
		c->store = true;
	if (c->nokernel)
		c->store = true;
	return p.out_of_memory || errors->failed || warnings->failed ? -ENOMEM : p.n_errors;
}

const struct config_word *config_words(size_t *n)
{
	static struct config_word list[ARRAY_SIZE(words)];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		list[i] = words[i].w;
	*n = ARRAY_SIZE(words);
	return list;
}

void config_value(const struct config *c, const char *name, struct buf *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const void *at = (const char *)c + words[i].offset;

		if (strcmp(words[i].w.name, name) != 0)
			continue;
		switch (words[i].kind) {
		case KIND_DIR:
		case KIND_TEXT:
			buf_adds(out, *(char *const *)at ? *(char *const *)at : "");
			break;
		case KIND_FLAG:
			buf_adds(out, *(const bool *)at ? "yes" : "");
			break;
		case KIND_RESUME:
			buf_addf(out, "%" PRId64 " %" PRId64, c->resume_blocks, c->resume_files);
			break;
		case KIND_RAW:
			for (size_t k = 0; k < c->n_raw; k++)
				buf_addf(out, "%s\n", c->raw[k]);
			break;
		case KIND_SIZE:
		case KIND_DURATION:
			buf_addf(out, "%" PRIu64, *(const uint64_t *)at);
			break;
		default:
			buf_addf(out, "%u", *(const unsigned *)at);
		}
	}
}
