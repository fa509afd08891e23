/* SPDX-License-Identifier: GPL-2.0-or-later */
/* complete.c — completion scripts, written out of the option tables */
#include <errno.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "dfcache/cli.h"

/* first_sentence - of a help text, without what the shells would take for their own */
static void add_sentence(struct buf *out, const char *text, const char *drop)
{
	const char *end = strstr(text, ". ");
	size_t n = end ? (size_t)(end - text) : strlen(text);

	while (n && text[n - 1] == '.')
		n--;
	for (size_t i = 0; i < n; i++)
		if (!strchr(drop, text[i]))
			buf_addc(out, text[i]);
}

static bool takes_file(const struct command *cmd)
{
	return !strncmp(cmd->args, "<PATH>", 6);
}

static void add_names(const struct command *cmd, struct buf *out)
{
	for (size_t i = 0; i < cmd->n_opts; i++) {
		buf_addf(out, " --%s", cmd->opts[i].name);
		if (cmd->opts[i].letter)
			buf_addf(out, " -%c", cmd->opts[i].letter);
	}
	buf_adds(out, " --help -h");
}

/* bash_pattern - the options with a value that is, or is not, a path, as "--a|-b|--c"; false: none */
static bool bash_pattern(const struct command *cmd, bool is_path, struct buf *out)
{
	const char *bar = "";

	for (size_t i = 0; i < cmd->n_opts; i++) {
		const struct opt *o = &cmd->opts[i];

		if (o->type == OPT_FLAG || (o->type == OPT_PATH) != is_path)
			continue;
		buf_addf(out, "%s--%s", bar, o->name);
		if (o->letter)
			buf_addf(out, "|-%c", o->letter);
		bar = "|";
	}
	return *bar;
}

static void bash_values(const struct command *cmd, struct buf *out)
{
	_cleanup_buf_ struct buf paths = {0}, others = {0};

	buf_adds(out, "\t\tcase $prev in\n");
	if (bash_pattern(cmd, true, &paths))
		buf_addf(out,
			"\t\t%s) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return ;;\n",
			buf_str(&paths));
	if (bash_pattern(cmd, false, &others))
		buf_addf(out, "\t\t%s) return ;;\n", buf_str(&others));
	buf_adds(out, "\t\tesac\n");
}

static void bash(const struct command *commands, size_t n, struct buf *out)
{
	buf_adds(out, "# bash completion for dfcache, made by `dfcache completion bash`\n"
		      "_dfcache()\n{\n"
		      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		      "\tlocal command=${COMP_WORDS[1]} options=\n"
		      "\tCOMPREPLY=()\n"
		      "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
		      "\t\tmapfile -t COMPREPLY < <(compgen -W \"");
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s ", commands[i].name);
	buf_adds(out, "help --help --version\" -- \"$cur\")\n\t\treturn\n\tfi\n"
		      "\tcase $command in\n");
	for (size_t i = 0; i < n; i++) {
		const struct command *c = &commands[i];
		buf_addf(out, "\t%s)\n\t\toptions=\"", c->name);
		add_names(c, out);
		buf_adds(out, "\"\n");
		if (c->n_opts)
			bash_values(c, out);
		if (takes_file(c))
			buf_adds(out, "\t\tcase $cur in\n\t\t-*) ;;\n"
				      "\t\t*) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); "
				      "return ;;\n\t\tesac\n");
		if (!strcmp(c->name, "completion"))
			buf_adds(out, "\t\toptions=\"bash zsh fish --help -h\"\n");
		buf_adds(out, "\t\t;;\n");
	}
	buf_adds(out, "\tesac\n\tmapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n}\n"
		      "complete -o filenames -o bashdefault -F _dfcache dfcache\n");
}

static void zsh(const struct command *commands, size_t n, struct buf *out)
{
	buf_adds(out, "#compdef dfcache\n# made by `dfcache completion zsh`\n"
		      "_dfcache() {\n\tlocal -a commands\n\tcommands=(\n");
	for (size_t i = 0; i < n; i++) {
		buf_addf(out, "\t\t'%s:", commands[i].name);
		add_sentence(out, commands[i].summary, "':");
		buf_adds(out, "'\n");
	}
	buf_adds(out, "\t\t'help:Print help'\n"
		      "\t)\n\tif (( CURRENT == 2 )); then\n\t\t_describe command commands\n"
		      "\t\treturn\n\tfi\n\tlocal command=$words[2]\n\tshift words\n"
		      "\t(( CURRENT-- ))\n\tcase $command in\n");
	for (size_t i = 0; i < n; i++) {
		const struct command *c = &commands[i];

		buf_addf(out, "\t%s)\n\t\t_arguments", c->name);
		for (size_t j = 0; j < c->n_opts; j++) {
			const struct opt *o = &c->opts[j];

			if (o->letter)
				buf_addf(out, " \\\n\t\t\t'(-%c --%s)'{-%c,--%s%s}'[", o->letter,
					o->name, o->letter, o->name, o->value ? "=" : "");
			else
				buf_addf(out, " \\\n\t\t\t'--%s%s[", o->name, o->value ? "=" : "");
			add_sentence(out, o->help, "'[]:");
			buf_addc(out, ']');
			if (o->value)
				buf_addf(out, ":%s:%s", o->type == OPT_PATH ? "path" : "value",
					o->type == OPT_PATH ? "_files" : " ");
			buf_addc(out, '\'');
		}
		buf_adds(out, " \\\n\t\t\t'(-h --help)'{-h,--help}'[Print help]'");
		if (takes_file(c))
			buf_adds(out, " \\\n\t\t\t'*:path:_files'");
		else if (!strcmp(c->name, "completion"))
			buf_adds(out, " \\\n\t\t\t'1:shell:(bash zsh fish)'");
		buf_adds(out, "\n\t\t;;\n");
	}
	buf_adds(out, "\tesac\n}\n_dfcache \"$@\"\n");
}

static void fish(const struct command *commands, size_t n, struct buf *out)
{
	buf_adds(out,
		"# fish completion for dfcache, made by `dfcache completion fish`\n"
		"complete -c dfcache -f\n"
		"complete -c dfcache -s h -l help -d 'Print help'\n"
		"complete -c dfcache -n __fish_use_subcommand -s V -l version -d 'Print version'\n"
		"complete -c dfcache -n __fish_use_subcommand -a help -d 'Print help'\n");
	for (size_t i = 0; i < n; i++) {
		buf_addf(out, "complete -c dfcache -n __fish_use_subcommand -a %s -d '",
			commands[i].name);
		add_sentence(out, commands[i].summary, "'\\");
		buf_adds(out, "'\n");
	}
	for (size_t i = 0; i < n; i++) {
		const struct command *c = &commands[i];

		for (size_t j = 0; j < c->n_opts; j++) {
			const struct opt *o = &c->opts[j];

			buf_addf(out,
				"complete -c dfcache -n '__fish_seen_subcommand_from %s' -l %s",
				c->name, o->name);
			if (o->letter)
				buf_addf(out, " -s %c", o->letter);
			if (o->value)
				buf_adds(out, o->type == OPT_PATH ? " -r -F" : " -x");
			buf_adds(out, " -d '");
			add_sentence(out, o->help, "'\\");
			buf_adds(out, "'\n");
		}
		if (takes_file(c))
			buf_addf(out,
				"complete -c dfcache -n '__fish_seen_subcommand_from %s' -F\n",
				c->name);
		if (!strcmp(c->name, "completion"))
			buf_adds(out, "complete -c dfcache -n '__fish_seen_subcommand_from "
				      "completion' -a 'bash zsh fish'\n");
	}
}

int cli_completion(const struct command *commands, size_t n, const char *shell, struct buf *out)
{
	if (!strcmp(shell, "bash"))
		bash(commands, n, out);
	else if (!strcmp(shell, "zsh"))
		zsh(commands, n, out);
	else if (!strcmp(shell, "fish"))
		fish(commands, n, out);
	else
		return -EINVAL;
	return buf_ok(out) ? 0 : -ENOMEM;
}
