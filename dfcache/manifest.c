/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"

#define HEADER "dfcachefiles manifest 1"
#define WHY    160

struct manifest_entry *manifest_add(
	struct manifest *m, enum manifest_kind kind, const char *path, const char *target)
{
	struct manifest_entry *e;

	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 64;
		struct manifest_entry *more;

		if (m->n >= MANIFEST_MAX_ENTRIES)
			return NULL;
		more = realloc(m->entries, cap * sizeof(*more));
		if (!more)
			return NULL;
		m->entries = more;
		m->cap = cap;
	}
	e = &m->entries[m->n];
	*e = (struct manifest_entry){.kind = kind, .path = strdup(path)};
	if (target)
		e->target = strdup(target);
	if (!e->path || (target && !e->target)) {
		free(e->path);
		free(e->target);
		return NULL;
	}
	m->n++;
	return e;
}

void manifest_fini(struct manifest *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->entries[i].path);
		free(m->entries[i].target);
	}
	free(m->entries);
	*m = (struct manifest){0};
}

int manifest_path_is_safe(const char *path)
{
	if (strlen(path) >= PATH_MAX)
		return 0;
	for (const char *p = path;; p++) {
		size_t n = strcspn(p, "/");

		if (n == 0 || n > NAME_MAX || (n == 1 && p[0] == '.') ||
			(n == 2 && p[0] == '.' && p[1] == '.'))
			return 0;
		p += n;
		if (!*p)
			return 1;
	}
}

static void add_escaped(struct buf *out, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c <= ' ' || c == '%' || c == 0x7f)
			buf_addf(out, "%%%02X", c);
		else
			buf_addc(out, *s);
	}
}

void manifest_encode(const struct manifest *m, struct buf *out)
{
	buf_adds(out, HEADER "\n");
	for (size_t i = 0; i < m->n; i++) {
		const struct manifest_entry *e = &m->entries[i];

		switch (e->kind) {
		case MANIFEST_DIRECTORY:
			buf_addf(out, "d %04o ", (unsigned)e->mode);
			break;
		case MANIFEST_FILE:
			buf_addf(out, "f %04o %" PRIu64 " %s ", (unsigned)e->mode, e->bytes, e->id);
			break;
		case MANIFEST_LINK:
			buf_adds(out, "l ");
			add_escaped(out, e->target);
			buf_addc(out, ' ');
			break;
		}
		add_escaped(out, e->path);
		buf_addc(out, '\n');
	}
}

/* ---- parsing ------------------------------------------------------------------------------- */

struct parse {
	const char *p, *end; /* of the line that is left */
	unsigned line;
	char *why;
};

static int __attribute__((format(printf, 2, 3))) bad(struct parse *s, const char *fmt, ...)
{
	int n = snprintf(s->why, WHY, "line %u: ", s->line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why + n, WHY - (size_t)n, fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

/* word - the next one, without the space behind it */
static size_t word(struct parse *s, const char **out)
{
	const char *space = memchr(s->p, ' ', (size_t)(s->end - s->p));
	size_t n = space ? (size_t)(space - s->p) : (size_t)(s->end - s->p);

	*out = s->p;
	s->p = space ? space + 1 : s->end;
	return n;
}

static int number(const char *p, size_t n, unsigned base, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (!n)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		unsigned d = (unsigned)(p[i] - '0');

		if (p[i] < '0' || d >= base || __builtin_mul_overflow(v, base, &v) ||
			__builtin_add_overflow(v, d, &v) || v > max)
			return -EBADMSG;
	}
	*out = v;
	return 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* unescape - @n bytes into @out of PATH_MAX; only the form that the encoder writes */
static int unescape(const char *p, size_t n, char *out)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if (k + 1 >= PATH_MAX || c <= ' ' || c == 0x7f)
			return -EBADMSG;
		if (c == '%') {
			int hi = n - i > 2 ? hex(p[i + 1]) : -1;
			int lo = n - i > 2 ? hex(p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return -EBADMSG;
			c = (unsigned char)(hi << 4 | lo);
			if (!c || (c > ' ' && c != '%' && c != 0x7f))
				return -EBADMSG;
			i += 2;
		}
		out[k++] = (char)c;
	}
	out[k] = '\0';
	return k ? 0 : -EBADMSG;
}

static int parse_entry(struct parse *s, struct manifest *m)
{
	struct manifest_entry e = {0}, *to;
	char path[PATH_MAX], target[PATH_MAX];
	const char *w;
	uint64_t mode = 0;
	size_t n = word(s, &w);

	if (n != 1 || !memchr("dfl", *w, 3))
		return bad(s, "an entry begins with d, f or l");
	e.kind = (enum manifest_kind) * w;
	if (e.kind != MANIFEST_LINK) {
		n = word(s, &w);
		if (n != 4 || number(w, n, 8, 0777, &mode) < 0)
			return bad(s, "the mode is four octal digits");
	}
	if (e.kind == MANIFEST_FILE) {
		n = word(s, &w);
		if (number(w, n, 10, INT64_MAX, &e.bytes) < 0 || (n > 1 && *w == '0'))
			return bad(s, "the size is a decimal number");
		n = word(s, &w);
		if (!n || n > MANIFEST_ID_MAX)
			return bad(s, "a task id has 1 to 64 characters");
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)w[i] <= ' ' || (unsigned char)w[i] >= 0x7f)
				return bad(s, "a task id is plain ASCII");
		memcpy(e.id, w, n);
	}
	if (e.kind == MANIFEST_LINK) {
		n = word(s, &w);
		if (unescape(w, n, target) < 0)
			return bad(s, "the target of the link is malformed");
	}
	if (unescape(s->p, (size_t)(s->end - s->p), path) < 0)
		return bad(s, "the path is malformed");
	if (!manifest_path_is_safe(path))
		return bad(s, "the path \"%.60s\" is not below the output directory", path);
	to = manifest_add(m, e.kind, path, e.kind == MANIFEST_LINK ? target : NULL);
	if (!to)
		return m->n >= MANIFEST_MAX_ENTRIES
			       ? bad(s, "more than %u entries", MANIFEST_MAX_ENTRIES)
			       : -ENOMEM;
	to->mode = (mode_t)mode;
	to->bytes = e.bytes;
	memcpy(to->id, e.id, sizeof(to->id));
	return 0;
}

static int by_path(const void *a, const void *b)
{
	const struct manifest_entry *const *x = a, *const *y = b;

	return strcmp((*x)->path, (*y)->path);
}

/* check_tree - each path once, and nothing below what is no directory: what is made first could lead
 * elsewhere (a link as the parent of a later file) */
static int check_tree(struct parse *s, const struct manifest *m)
{
	const struct manifest_entry **sorted = calloc(m->n ? m->n : 1, sizeof(*sorted));
	int r = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < m->n; i++)
		sorted[i] = &m->entries[i];
	qsort(sorted, m->n, sizeof(*sorted), by_path);
	for (size_t i = 0; i < m->n && r == 0; i++) {
		const char *path = sorted[i]->path;

		s->line = (unsigned)(sorted[i] - m->entries) + 2;
		if (i && !strcmp(sorted[i - 1]->path, path))
			r = bad(s, "the path \"%.60s\" appears twice", path);
		for (const char *slash = strchr(path, '/'); slash && r == 0;
			slash = strchr(slash + 1, '/')) {
			_cleanup_free_ char *dir = strndup(path, (size_t)(slash - path));
			const struct manifest_entry key = {.path = dir}, *k = &key, **found;

			if (!dir) {
				r = -ENOMEM;
				break;
			}
			found = bsearch(&k, sorted, m->n, sizeof(*sorted), by_path);
			if (!found || (*found)->kind != MANIFEST_DIRECTORY || *found > sorted[i])
				r = bad(s, "\"%.60s\" is in no directory of the manifest", path);
		}
	}
	free(sorted);
	return r;
}

int manifest_parse(struct manifest *m, const char *text, size_t len, char *why)
{
	struct parse s = {.why = why};
	const char *p = text, *end = text + len;
	int r = 0;

	*m = (struct manifest){0};
	for (s.line = 1; p < end && r == 0; s.line++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		if (!nl) {
			r = bad(&s, "the last line is not whole");
			break;
		}
		s.p = p;
		s.end = nl;
		if (s.line > 1)
			r = parse_entry(&s, m);
		else if ((size_t)(nl - p) != strlen(HEADER) || memcmp(p, HEADER, strlen(HEADER)))
			r = bad(&s, "not a manifest of dfcache import --recursive");
		p = nl + 1;
	}
	if (r == 0 && s.line == 1)
		r = bad(&s, "not a manifest of dfcache import --recursive: it is empty");
	if (r == 0)
		r = check_tree(&s, m);
	if (r < 0)
		manifest_fini(m);
	return r;
}
