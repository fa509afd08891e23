/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/convert/yaml.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

struct level {
	size_t path_len; /* of the path that leads here */
	bool is_sequence, has_key;
	unsigned n; /* items of a sequence */
	size_t n_before; /* values before it */
};

struct state {
	struct yaml *y;
	struct level levels[YAML_DEPTH_MAX];
	size_t depth;
	char path[YAML_PATH_MAX];
	size_t path_len, line;
	char *reason;
};

static int __attribute__((format(printf, 2, 3))) complain(struct state *s, const char *fmt, ...)
{
	int n = snprintf(s->reason, YAML_REASON, "line %zu: ", s->line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->reason + n, YAML_REASON - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

struct yaml_item *yaml_find(const struct yaml *y, const char *path)
{
	for (size_t i = 0; i < y->n; i++)
		if (!strcmp(y->items[i].path, path))
			return &y->items[i];
	return NULL;
}

void yaml_fini(struct yaml *y)
{
	for (size_t i = 0; i < y->n; i++) {
		free(y->items[i].path);
		free(y->items[i].value);
	}
	free(y->items);
	*y = (struct yaml){0};
}

static int add_item(struct state *s, const char *value)
{
	struct yaml *y = s->y;
	struct yaml_item *item;

	if (y->n == YAML_ITEMS_MAX)
		return complain(s, "more than %d values", YAML_ITEMS_MAX);
	if (yaml_find(y, s->path))
		return complain(s, "%s is there twice", s->path);
	if (y->n == y->cap) {
		size_t cap = y->cap ? y->cap * 2 : 64;
		struct yaml_item *v = realloc(y->items, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		y->items = v;
		y->cap = cap;
	}
	item = &y->items[y->n];
	*item = (struct yaml_item){
		.path = strdup(s->path), .value = strdup(value), .line = s->line};
	if (!item->path || !item->value) {
		free(item->path);
		free(item->value);
		return -ENOMEM;
	}
	y->n++;
	return 0;
}

static int __attribute__((format(printf, 2, 3))) append(struct state *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->path + s->path_len, sizeof(s->path) - s->path_len, fmt, ap);
	va_end(ap);
	if ((size_t)n >= sizeof(s->path) - s->path_len) {
		s->path[s->path_len] = 0;
		return complain(s, "the path of the key is longer than %d bytes", YAML_PATH_MAX);
	}
	s->path_len += (size_t)n;
	return 0;
}

static struct level *top(struct state *s)
{
	return s->depth ? &s->levels[s->depth - 1] : NULL;
}

/* begin_value - the path becomes that of the value which comes now */
static int begin_value(struct state *s)
{
	struct level *l = top(s);

	if (!l || !l->is_sequence)
		return 0;
	return append(s, "[%u]", l->n++);
}

/* end_value - back to the path of what is around it */
static void end_value(struct state *s)
{
	struct level *l = top(s);

	if (!l)
		return;
	l->has_key = false;
	s->path_len = l->path_len;
	s->path[s->path_len] = 0;
}

static bool is_printable(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return false;
	return true;
}

static int on_scalar(struct state *s, const char *text, size_t n, bool is_plain)
{
	struct level *l = top(s);
	int r;

	if (!is_printable(text, n))
		return complain(s, "a control character, or a value of several lines");
	if (!l)
		return n ? complain(s, "\"%.40s\" is not a map of keys", text) : 0;
	if (!l->is_sequence && !l->has_key) {
		if (!n)
			return complain(s, "an empty key");
		l->has_key = true;
		return append(s, "%s%s", s->path_len ? "." : "", text);
	}
	if (is_plain && (!strcmp(text, "null") || !strcmp(text, "~")))
		text = "";
	r = begin_value(s);
	if (r == 0)
		r = add_item(s, text);
	end_value(s);
	return r;
}

static int on_begin(struct state *s, bool is_sequence)
{
	struct level *l = top(s);
	int r;

	if (l && !l->is_sequence && !l->has_key)
		return complain(s, "a key that is not a word");
	if (s->depth == YAML_DEPTH_MAX)
		return complain(s, "deeper than %d levels", YAML_DEPTH_MAX);
	if (!l && is_sequence)
		return complain(s, "a list where keys should be");
	r = begin_value(s);
	if (r == 0)
		s->levels[s->depth++] = (struct level){
			.path_len = s->path_len, .is_sequence = is_sequence, .n_before = s->y->n};
	return r;
}

/* on_end - of a map or list; an empty one is said too, it may be a key that somebody has to hear of */
static int on_end(struct state *s)
{
	const struct level *l = top(s);
	int r = l->n_before == s->y->n && s->depth > 1 ? add_item(s, "") : 0;

	s->depth--;
	end_value(s);
	return r;
}

static int on_event(struct state *s, const yaml_event_t *e, unsigned *n_documents)
{
	const char *anchor = NULL;

	s->line = e->start_mark.line + 1;
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		anchor = (const char *)e->data.scalar.anchor;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = (const char *)e->data.sequence_start.anchor;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = (const char *)e->data.mapping_start.anchor;
		break;
	default:
		break;
	}
	if (anchor || e->type == YAML_ALIAS_EVENT)
		return complain(s, "anchors and aliases are not read; write the value out");
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return ++*n_documents > 1 ? complain(s, "a second document") : 0;
	case YAML_SCALAR_EVENT:
		if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
			return complain(s, "a NUL character");
		return on_scalar(s, (const char *)e->data.scalar.value, e->data.scalar.length,
			e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
	case YAML_SEQUENCE_START_EVENT:
		return on_begin(s, true);
	case YAML_MAPPING_START_EVENT:
		return on_begin(s, false);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_end(s);
	default:
		return 0;
	}
}

int yaml_parse(struct yaml *y, const char *text, size_t len, char *reason)
{
	struct state s = {.y = y, .reason = reason, .line = 1};
	unsigned n_documents = 0;
	yaml_parser_t parser;
	bool is_over = false;
	int r = 0;

	*y = (struct yaml){0};
	*reason = 0;
	if (len > YAML_SIZE_MAX)
		return complain(&s, "the file is larger than 1 MiB");
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (r == 0 && !is_over) {
		yaml_event_t e;

		if (!yaml_parser_parse(&parser, &e)) {
			s.line = parser.problem_mark.line + 1;
			r = parser.error == YAML_MEMORY_ERROR
				    ? -ENOMEM
				    : complain(&s, "%s",
					      parser.problem ? parser.problem : "not YAML");
			break;
		}
		r = on_event(&s, &e, &n_documents);
		is_over = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	if (r < 0)
		yaml_fini(y);
	return r;
}
