/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/conf.h"
#include "common/digest.h"
#include "common/log.h"
#include "common/num.h"
#include "common/utf8.h"

#define SECTION  "dfcache"
#define MAX_KEYS 64

static struct value *value_of(const struct cli *c, const struct opt *o)
{
	return &c->values[o - c->command->opts];
}

/* ---- one value ----------------------------------------------------------------------------- */

static int parse_flag(const char *text, enum origin from, uint64_t *out, char *reason)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
	/* the environment takes the two words that the documented tool takes */
	size_t n = from == ORIGIN_ENVIRONMENT ? 2 : ARRAY_SIZE(words);

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(text, words[i])) {
			*out = i & 1;
			return 0;
		}
	}
	snprintf(reason, NUM_REASON, "true or false is needed");
	return -EINVAL;
}

/* value_set - parse @text by the type of @o; -EINVAL with @reason (NUM_REASON bytes) */
static int value_set(
	struct value *v, const struct opt *o, const char *text, enum origin from, char *reason)
{
	char canonical[DIGEST_TEXT];
	enum digest_algorithm a;
	uint64_t n = 0;
	int r = 0;

	switch (o->type) {
	case OPT_FLAG:
		r = parse_flag(text, from, &n, reason);
		break;
	case OPT_STRING:
		if (!utf8_valid(text, strlen(text))) {
			snprintf(reason, NUM_REASON, "it is not valid UTF-8");
			r = -EINVAL;
		}
		break;
	case OPT_PATH:
		break;
	case OPT_U64:
		r = num_u64(text, 0, UINT64_MAX, &n, reason);
		break;
	case OPT_SIZE:
		r = num_size(text, &n, reason);
		break;
	case OPT_DURATION:
		r = num_duration(text, &n, reason);
		break;
	case OPT_LEVEL:
		r = log_level_parse(text);
		if (r < 0)
			snprintf(reason, NUM_REASON,
				"a level is one of error, warn, info, debug, trace, or 1 to 5");
		else
			n = (uint64_t)r;
		break;
	case OPT_DIGEST:
		r = digest_parse(text, &a, canonical, reason);
		if (r == 0)
			text = canonical;
		break;
	}
	if (r < 0)
		return -EINVAL;
	free(v->text);
	v->text = strdup(text);
	if (!v->text)
		return -ENOMEM;
	v->number = n;
	v->origin = from;
	v->is_set = true;
	return 0;
}

/* ---- command line -------------------------------------------------------------------------- */

static void hint(const struct cli *c, struct buf *error)
{
	buf_addf(error,
		"\n\nUsage: dfcache %s [OPTIONS]%s%s\n\nFor more information, try '--help'.\n",
		c->command->name, *c->command->args ? " " : "", c->command->args);
}

static int __attribute__((format(printf, 3, 4)))
usage_error(const struct cli *c, struct buf *error, const char *fmt, ...)
{
	va_list ap;

	buf_adds(error, "error: ");
	va_start(ap, fmt);
	buf_vaddf(error, fmt, ap);
	va_end(ap);
	hint(c, error);
	return buf_ok(error) ? -EINVAL : -ENOMEM;
}

static void add_option_name(const struct opt *o, struct buf *b)
{
	buf_addf(b, "--%s", o->name);
	if (o->value)
		buf_addf(b, " <%s>", o->value);
}

static const char *option_name(const struct opt *o, char out[128])
{
	snprintf(out, 128, "--%s%s%s%s", o->name, o->value ? " <" : "", o->value ? o->value : "",
		o->value ? ">" : "");
	return out;
}

static const struct opt *find_long(const struct command *cmd, const char *name, size_t len)
{
	for (size_t i = 0; i < cmd->n_opts; i++) {
		const struct opt *o = &cmd->opts[i];

		if (strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
		if (o->alias && strlen(o->alias) == len && !memcmp(o->alias, name, len))
			return o;
	}
	return NULL;
}

static const struct opt *find_letter(const struct command *cmd, char letter)
{
	for (size_t i = 0; i < cmd->n_opts; i++)
		if (cmd->opts[i].letter == letter)
			return &cmd->opts[i];
	return NULL;
}

static int take(struct cli *c, const struct opt *o, const char *text, struct buf *error)
{
	struct value *v = value_of(c, o);
	char reason[NUM_REASON], name[128];
	int r;

	if (v->is_set)
		return usage_error(c, error, "the argument '%s' cannot be used multiple times",
			option_name(o, name));
	r = value_set(v, o, text, ORIGIN_OPTION, reason);
	if (r == -EINVAL)
		return usage_error(c, error, "invalid value '%s' for '%s': %s", text,
			option_name(o, name), reason);
	return r;
}

/* parse_long - argv[*i] is "--name" or "--name=value" */
static int parse_long(struct cli *c, int argc, char **argv, int *i, struct buf *error)
{
	const char *word = argv[*i] + 2, *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	const struct opt *o = find_long(c->command, word, len);
	char name[128];

	if (!o && len == 4 && !memcmp(word, "help", 4)) {
		c->want_help = c->want_long_help = true;
		return 0;
	}
	if (!o)
		return usage_error(c, error, "unexpected argument '--%.*s' found", (int)len, word);
	if (o->type == OPT_FLAG) {
		if (equals)
			return usage_error(c, error,
				"unexpected value '%s' for '--%s' found; no more were expected",
				equals + 1, o->name);
		return take(c, o, "true", error);
	}
	if (equals)
		return take(c, o, equals + 1, error);
	if (*i + 1 >= argc)
		return usage_error(c, error, "a value is required for '%s' but none was supplied",
			option_name(o, name));
	return take(c, o, argv[++*i], error);
}

/* parse_letters - argv[*i] is "-abc", "-Ovalue", "-O=value", or "-O" with the value behind it */
static int parse_letters(struct cli *c, int argc, char **argv, int *i, struct buf *error)
{
	char name[128];

	for (const char *p = argv[*i] + 1; *p; p++) {
		const struct opt *o = find_letter(c->command, *p);
		int r;

		if (!o && *p == 'h') {
			c->want_help = true;
			continue;
		}
		if (!o)
			return usage_error(c, error, "unexpected argument '-%c' found", *p);
		if (o->type == OPT_FLAG) {
			r = take(c, o, "true", error);
			if (r < 0)
				return r;
			continue;
		}
		if (p[1])
			return take(c, o, p + 1 + (p[1] == '='), error);
		if (*i + 1 >= argc)
			return usage_error(c, error,
				"a value is required for '%s' but none was supplied",
				option_name(o, name));
		return take(c, o, argv[++*i], error);
	}
	return 0;
}

static int check_args(struct cli *c, struct buf *error)
{
	if (c->n_args < c->command->min_args)
		return usage_error(c, error,
			"the following required arguments were not provided:\n  %s",
			c->command->args);
	if (c->n_args > c->command->max_args)
		return usage_error(
			c, error, "unexpected argument '%s' found", c->args[c->command->max_args]);
	return 0;
}

int cli_parse(struct cli *c, const struct command *cmd, int argc, char **argv, struct buf *error)
{
	bool is_over = false;
	int r = 0;

	*c = (struct cli){.command = cmd};
	c->values = calloc(cmd->n_opts ? cmd->n_opts : 1, sizeof(*c->values));
	c->args = calloc((size_t)argc + 1, sizeof(*c->args));
	if (!c->values || !c->args)
		return -ENOMEM;
	for (int i = 0; i < argc && r == 0; i++) {
		const char *a = argv[i];

		if (is_over || a[0] != '-' || !a[1])
			c->args[c->n_args++] = argv[i];
		else if (!strcmp(a, "--"))
			is_over = true;
		else if (a[1] == '-')
			r = parse_long(c, argc, argv, &i, error);
		else
			r = parse_letters(c, argc, argv, &i, error);
		if (c->want_help)
			return 0;
	}
	return r < 0 ? r : check_args(c, error);
}

/* ---- environment, file, defaults ----------------------------------------------------------- */

static void upper(const char *from, char *to, size_t cap)
{
	size_t i;

	for (i = 0; from[i] && i + 1 < cap; i++)
		to[i] = from[i] == '-' ? '_' : (char)toupper((unsigned char)from[i]);
	to[i] = '\0';
}

void cli_env_name(const struct command *cmd, const struct opt *o, char out[96])
{
	char name[32];

	upper(cmd->name, name, sizeof(name));
	snprintf(out, 96, "DFCACHE_%s_%s", name, o->env);
}

int cli_environment(struct cli *c, const char *(*get)(const char *name), struct buf *error)
{
	for (size_t i = 0; i < c->command->n_opts; i++) {
		const struct opt *o = &c->command->opts[i];
		char name[96], reason[NUM_REASON];
		const char *text;
		int r;

		if (!o->env || c->values[i].is_set)
			continue;
		cli_env_name(c->command, o, name);
		text = get(name);
		if (!text)
			continue;
		r = value_set(&c->values[i], o, text, ORIGIN_ENVIRONMENT, reason);
		if (r == -EINVAL)
			return usage_error(c, error,
				"invalid value '%s' of the environment variable %s: %s", text, name,
				reason);
		if (r < 0)
			return r;
	}
	return 0;
}

/* keys_of - the options of all commands that can stand in the file, each key once */
static size_t keys_of(const struct command *commands, size_t n_commands,
	const struct opt *keys[MAX_KEYS], struct conf_option table[MAX_KEYS])
{
	size_t n = 0;

	for (size_t i = 0; i < n_commands; i++) {
		for (size_t j = 0; j < commands[i].n_opts; j++) {
			const struct opt *o = &commands[i].opts[j];
			size_t k = 0;

			if (!o->key)
				continue;
			while (k < n && strcmp(keys[k]->key, o->key) != 0)
				k++;
			if (k < n || n == MAX_KEYS)
				continue;
			keys[n] = o;
			table[n] = (struct conf_option){.section = SECTION,
				.key = o->key,
				.type = CONF_STRING,
				.offset = n * sizeof(char *),
				.help = o->help};
			n++;
		}
	}
	return n;
}

static int take_from_file(struct cli *c, const struct opt *key, const char *text, unsigned line,
	const char *path, struct buf *error)
{
	struct value scratch = {0};
	char reason[NUM_REASON];
	int r = value_set(&scratch, key, text, ORIGIN_FILE, reason);

	free(scratch.text);
	if (r == -EINVAL)
		buf_addf(error, "%s:%u: %s = %s: %s\n", path, line, key->key, text, reason);
	for (size_t i = 0; i < c->command->n_opts && r == 0; i++) {
		const struct opt *o = &c->command->opts[i];

		if (!o->key || strcmp(o->key, key->key) != 0 || c->values[i].is_set)
			continue;
		r = value_set(&c->values[i], o, text, ORIGIN_FILE, reason);
		c->values[i].line = line;
	}
	return r;
}

int cli_file(struct cli *c, const struct command *commands, size_t n_commands, const char *path,
	char *text, size_t len, struct buf *error)
{
	const struct opt *keys[MAX_KEYS];
	struct conf_option table[MAX_KEYS];
	struct conf_origin origins[MAX_KEYS] = {0};
	char *values[MAX_KEYS] = {0};
	size_t n = keys_of(commands, n_commands, keys, table);
	int r;

	conf_keep_section(text, len, SECTION);
	c->config_path = path;
	r = conf_parse(table, n, values, path, text, len, origins, error);
	if (r > 0)
		r = -EINVAL;
	for (size_t i = 0; i < n && r != -ENOMEM; i++) {
		int one = 0;

		if (values[i])
			one = take_from_file(c, keys[i], values[i], origins[i].line, path, error);
		if (one < 0)
			r = one;
	}
	conf_fini(table, n, values);
	return r;
}

int cli_defaults(struct cli *c)
{
	for (size_t i = 0; i < c->command->n_opts; i++) {
		const struct opt *o = &c->command->opts[i];
		char reason[NUM_REASON];
		int r;

		if (c->values[i].is_set || !o->def)
			continue;
		r = value_set(&c->values[i], o, o->def, ORIGIN_DEFAULT, reason);
		if (r < 0)
			return r;
	}
	return 0;
}

int cli_check(const struct cli *c, struct buf *error)
{
	for (size_t i = 0; i < c->command->n_opts; i++) {
		const struct opt *o = &c->command->opts[i];
		char name[128];

		if (o->is_required && !c->values[i].is_set)
			return usage_error(c, error,
				"the following required arguments were not provided:\n  %s",
				option_name(o, name));
	}
	return 0;
}

void cli_fini(struct cli *c)
{
	for (size_t i = 0; c->values && i < c->command->n_opts; i++)
		free(c->values[i].text);
	free(c->values);
	free(c->args);
	*c = (struct cli){0};
}

/* ---- lookups ------------------------------------------------------------------------------- */

bool cli_has(const struct cli *c, const char *name)
{
	return find_long(c->command, name, strlen(name)) != NULL;
}

const struct value *cli_value(const struct cli *c, const char *name)
{
	const struct opt *o = find_long(c->command, name, strlen(name));

	if (!o)
		abort();
	return value_of(c, o);
}

const char *cli_text(const struct cli *c, const char *name)
{
	return cli_value(c, name)->text;
}

uint64_t cli_number(const struct cli *c, const char *name)
{
	return cli_value(c, name)->number;
}

bool cli_flag(const struct cli *c, const char *name)
{
	return cli_value(c, name)->number != 0;
}

/* ---- help ---------------------------------------------------------------------------------- */

#define HELP_WIDTH 80

/* add_wrapped - @text in lines of HELP_WIDTH, the first one at @column already */
static void add_wrapped(struct buf *out, const char *text, size_t indent, size_t column)
{
	while (*text) {
		size_t n = strcspn(text, " ");

		if (column > indent && column + 1 + n > HELP_WIDTH) {
			buf_addf(out, "\n%*s", (int)indent, "");
			column = indent;
		} else if (column > indent) {
			buf_addc(out, ' ');
			column++;
		}
		buf_add(out, text, n);
		column += n;
		text += n;
		text += strspn(text, " ");
	}
	buf_addc(out, '\n');
}

/* sentence_length - up to the full stop that ends the first sentence */
static size_t sentence_length(const char *text)
{
	const char *end = strstr(text, ". ");

	return end ? (size_t)(end - text) + 1 : strlen(text);
}

static void add_label(const struct opt *o, struct buf *b)
{
	if (o->letter)
		buf_addf(b, "  -%c, ", o->letter);
	else
		buf_adds(b, "      ");
	add_option_name(o, b);
}

static void add_option_help(const struct command *cmd, const struct opt *o, bool is_long,
	size_t column, struct buf *out)
{
	_cleanup_buf_ struct buf label = {0}, text = {0};
	char env[96];

	add_label(o, &label);
	buf_add(&text, o->help, is_long ? strlen(o->help) : sentence_length(o->help));
	if (o->is_required)
		buf_adds(&text, " [required]");
	if (o->def && *o->def)
		buf_addf(&text, " [default: %s]", o->def);
	if (is_long && o->alias)
		buf_addf(&text, " [older name: --%s]", o->alias);
	if (is_long && o->env) {
		cli_env_name(cmd, o, env);
		buf_addf(&text, " [env: %s]", env);
	}
	if (is_long && o->key)
		buf_addf(&text, " [file: %s]", o->key);
	buf_adds(out, buf_str(&label));
	if (is_long) {
		buf_addf(out, "\n%*s", 10, "");
		add_wrapped(out, buf_str(&text), 10, 10);
		buf_addc(out, '\n');
	} else {
		buf_addf(out, "%*s", (int)(column - label.len), "");
		add_wrapped(out, buf_str(&text), column, column);
	}
}

void cli_help(const struct command *cmd, bool is_long, struct buf *out)
{
	static const struct opt help = {
		"help", 'h', OPT_FLAG, .help = "Print help; -h is the short form."};
	size_t column = 0;

	add_wrapped(out, cmd->summary, 0, 0);
	buf_addf(out, "\nUsage: dfcache %s [OPTIONS]%s%s\n", cmd->name, *cmd->args ? " " : "",
		cmd->args);
	if (is_long && cmd->details) {
		buf_addc(out, '\n');
		add_wrapped(out, cmd->details, 0, 0);
	}
	for (size_t i = 0; i < cmd->n_opts; i++) {
		_cleanup_buf_ struct buf label = {0};

		add_label(&cmd->opts[i], &label);
		if (label.len + 2 > column)
			column = label.len + 2;
	}
	if (column > 40)
		column = 40;
	buf_adds(out, "\nOptions:\n");
	for (size_t i = 0; i < cmd->n_opts; i++) {
		_cleanup_buf_ struct buf label = {0};
		size_t at = column;

		/* a label too long for the column pushes its own help to the right, no other */
		add_label(&cmd->opts[i], &label);
		if (label.len + 2 > at)
			at = label.len + 2;
		add_option_help(cmd, &cmd->opts[i], is_long, at, out);
	}
	add_option_help(cmd, &help, is_long, column < 14 ? 14 : column, out);
	if (is_long && cmd->example)
		buf_addf(out, "Examples:\n%s", cmd->example);
}
