/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dfcache_cli.c — the words that are taken and the words that are not; who wins; help and
 * completions name every option of the table */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <syslog.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "dfcache/cli.h"
#include "dfcache/commands.h"
#include "tests/lib/oom.h"

#define WORDS 16

/* split at single spaces; an empty word is written '' */
static int split(char *line, char **words)
{
	int n = 0;

	for (char *w = strtok(line, " "); w && n < WORDS; w = strtok(NULL, " ")) {
		if (!strcmp(w, "''"))
			*w = '\0';
		words[n++] = w;
	}
	return n;
}

static int parse(struct cli *c, const char *command, char *line, struct buf *error)
{
	char *words[WORDS];
	int n = split(line, words);
	int r = cli_parse(c, command_find(command), n, words, error);

	/* c->args points into words, which ends here */
	for (unsigned i = 0; r == 0 && i < c->n_args; i++)
		assert_non_null(c->args[i]);
	return r;
}

static void takes(void **state)
{
	static const struct {
		const char *command, *line, *name, *text;
		uint64_t number;
	} good[] = {
		{"import", "a --ttl 1h30m", "ttl", "1h30m", 5400000000000u},
		{"import", "--ttl=7d a", "ttl", "7d", 604800000000000u},
		{"import", "--piece-length 4MiB a", "piece-length", "4MiB", 4194304},
		{"import", "--persistent-replica-count 0 a", "persistent-replica-count", "0", 0},
		{"import", "-l WARN a", "log-level", "WARN", LOG_WARNING},
		{"import", "-l=5 a", "log-level", "5", LOG_DEBUG},
		{"import", "-e/x a", "endpoint", "/x", 0},
		{"import", "--verbose a", "console", "true", 1},
		{"import", "--console a", "console", "true", 1},
		{"import", "--tag= a", "tag", "", 0},
		{"import", "-- -a", "wait", NULL, 0},
		{"import", "a b c -r", "recursive", "true", 1},
		{"export", "1 -O/o", "output", "/o", 0},
		{"export", "1 -O=/o", "output", "/o", 0},
		{"export", "-O /o 1", "output", "/o", 0},
		{"export", "1 --output=/o --overwrite", "overwrite", "true", 1},
		{"export", "1 -rO /o", "output", "/o", 0},
		{"export", "1 -O o --digest crc32:7", "digest", "crc32:7", 0},
		{"ttl", "1 3d", "json", NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		_cleanup_buf_ struct buf error = {0};
		CLEANUP(cli_fini) struct cli c = {0};
		char line[256];

		snprintf(line, sizeof(line), "%s", good[i].line);
		if (parse(&c, good[i].command, line, &error) < 0)
			fail_msg("%s: %s", good[i].line, buf_str(&error));
		if (good[i].text)
			assert_string_equal(cli_text(&c, good[i].name), good[i].text);
		else
			assert_null(cli_text(&c, good[i].name));
		assert_int_equal(cli_number(&c, good[i].name), good[i].number);
	}
}

static void refuses(void **state)
{
	static const struct {
		const char *command, *line, *words;
	} bad[] = {
		{"import", "", "required arguments were not provided:\n  <PATH>..."},
		{"import", "a --nope", "unexpected argument '--nope' found"},
		{"import", "a -z", "unexpected argument '-z' found"},
		{"import", "a --persistent 3", "unexpected argument '--persistent' found"},
		{"import", "a --tt 1h", "unexpected argument '--tt' found"},
		{"import", "a --ttl", "a value is required for '--ttl <DURATION>'"},
		{"import", "a -e", "a value is required for '--endpoint <PATH>'"},
		{"import", "a --ttl 5", "invalid value '5' for '--ttl <DURATION>'"},
		{"import", "a --ttl -1m", "invalid value '-1m' for '--ttl <DURATION>'"},
		{"import", "a --ttl 1H", "invalid value '1H' for '--ttl <DURATION>'"},
		{"import", "a --ttl ''", "invalid value '' for '--ttl <DURATION>'"},
		{"import", "a --piece-length 4,5MiB", "invalid value '4,5MiB'"},
		{"import", "a --piece-length 1EiB", "invalid value '1EiB'"},
		{"import", "a --persistent-replica-count -1", "invalid value '-1'"},
		{"import", "a --persistent-replica-count 99999999999999999999", "invalid value"},
		{"import", "a -l loud", "invalid value 'loud' for '--log-level <LEVEL>'"},
		{"import", "a --tag \xff", "not valid UTF-8"},
		{"import", "a --tag x --tag y", "'--tag <TEXT>' cannot be used multiple times"},
		{"import", "a --console --verbose", "'--console' cannot be used multiple times"},
		{"import", "a --wait=yes", "unexpected value 'yes' for '--wait'"},
		{"import", "a -V", "unexpected argument '-V' found"},
		{"export", "1 2 -O o", "unexpected argument '2' found"},
		{"export", "1 -O o --digest md5:1", "invalid value 'md5:1' for '--digest"},
		{"stat", "1 --ttl 1h", "unexpected argument '--ttl' found"},
		{"ttl", "1", "<ID> <DURATION>"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_buf_ struct buf error = {0};
		CLEANUP(cli_fini) struct cli c = {0};
		char line[256];

		snprintf(line, sizeof(line), "%s", bad[i].line);
		assert_int_equal(parse(&c, bad[i].command, line, &error), -EINVAL);
		if (!strstr(buf_str(&error), bad[i].words))
			fail_msg("%s: \"%s\" lacks \"%s\"", bad[i].line, buf_str(&error),
				bad[i].words);
		assert_non_null(strstr(buf_str(&error), "--help"));
	}
}

static void required_option(void **state)
{
	_cleanup_buf_ struct buf error = {0};
	CLEANUP(cli_fini) struct cli c = {0};
	char line[] = "1";

	assert_int_equal(parse(&c, "export", line, &error), 0);
	assert_int_equal(cli_defaults(&c), 0);
	assert_int_equal(cli_check(&c, &error), -EINVAL);
	assert_non_null(strstr(buf_str(&error), "--output <PATH>"));
}

/* ---- precedence ---------------------------------------------------------------------------- */

static const char *environment(const char *name)
{
	static const char *const set[][2] = {
		{"DFCACHE_IMPORT_TTL", "2h"},
		{"DFCACHE_IMPORT_TAG", "env"},
		{"DFCACHE_IMPORT_NO_PROGRESS", "true"},
		{"DFCACHE_IMPORT_LOG_DIR", "/ignored"},
		{"DFCACHE_EXPORT_OVERWRITE", "yes"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(set); i++)
		if (!strcmp(set[i][0], name))
			return set[i][1];
	return NULL;
}

static void option_environment_file_default(void **state)
{
	char file[] = "[server]\nendpoint = /not/ours\nnonsense\n[dfcache]\n"
		      "endpoint = /file\nttl = 3h\npersistent_replica_count = 5\n"
		      "console = yes\n[download]\nttl = 4h\n";
	_cleanup_buf_ struct buf error = {0};
	CLEANUP(cli_fini) struct cli c = {0};
	char line[] = "a --tag option";

	assert_int_equal(parse(&c, "import", line, &error), 0);
	assert_int_equal(cli_environment(&c, environment, &error), 0);
	if (cli_file(&c, commands, n_commands, "x.conf", file, strlen(file), &error) < 0)
		fail_msg("%s", buf_str(&error));
	assert_int_equal(cli_defaults(&c), 0);
	assert_string_equal(cli_text(&c, "tag"), "option");
	assert_int_equal(cli_value(&c, "tag")->origin, ORIGIN_OPTION);
	assert_string_equal(cli_text(&c, "ttl"), "2h");
	assert_int_equal(cli_value(&c, "ttl")->origin, ORIGIN_ENVIRONMENT);
	assert_true(cli_flag(&c, "no-progress"));
	assert_string_equal(cli_text(&c, "endpoint"), "/file");
	assert_int_equal(cli_value(&c, "endpoint")->origin, ORIGIN_FILE);
	assert_int_equal(cli_value(&c, "endpoint")->line, 5);
	assert_int_equal(cli_number(&c, "persistent-replica-count"), 5);
	assert_true(cli_flag(&c, "console"));
	assert_string_equal(cli_text(&c, "timeout"), "30m");
	assert_int_equal(cli_value(&c, "timeout")->origin, ORIGIN_DEFAULT);
	assert_string_equal(cli_text(&c, "log-dir"), "/var/log/dragonfly/dfcache");
	assert_false(cli_value(&c, "application")->is_set);
}

static void bad_environment_and_file(void **state)
{
	char file[] = "[dfcache]\nttl = soon\nimport_timeout = 1m\ncolour = red\n";
	_cleanup_buf_ struct buf error = {0}, errors = {0};
	CLEANUP(cli_fini) struct cli c = {0};
	char line[] = "1 -O o";

	assert_int_equal(parse(&c, "export", line, &error), 0);
	assert_int_equal(cli_environment(&c, environment, &error), -EINVAL);
	assert_non_null(strstr(buf_str(&error), "DFCACHE_EXPORT_OVERWRITE: true or false"));
	/* the whole section is checked, also what this command does not use */
	assert_int_equal(
		cli_file(&c, commands, n_commands, "x.conf", file, strlen(file), &errors), -EINVAL);
	assert_non_null(strstr(buf_str(&errors), "x.conf:2: ttl = soon: "));
	assert_non_null(strstr(buf_str(&errors), "x.conf:4: unknown key \"colour\""));
	assert_null(strstr(buf_str(&errors), "x.conf:3"));
}

static void every_default_is_valid(void **state)
{
	for (size_t i = 0; i < n_commands; i++) {
		struct command bare = commands[i];
		_cleanup_buf_ struct buf error = {0};
		CLEANUP(cli_fini) struct cli c = {0};

		bare.min_args = 0;
		assert_int_equal(cli_parse(&c, &bare, 0, NULL, &error), 0);
		assert_int_equal(cli_defaults(&c), 0);
	}
}

/* ---- texts --------------------------------------------------------------------------------- */

static void help_names_every_option(void **state)
{
	for (size_t i = 0; i < n_commands; i++) {
		_cleanup_buf_ struct buf brief = {0}, whole = {0};

		cli_help(&commands[i], false, &brief);
		cli_help(&commands[i], true, &whole);
		assert_true(whole.len > brief.len || !commands[i].n_opts);
		for (size_t j = 0; j < commands[i].n_opts; j++) {
			char name[64];

			snprintf(name, sizeof(name), "--%s", commands[i].opts[j].name);
			assert_non_null(strstr(buf_str(&brief), name));
			assert_non_null(strstr(buf_str(&whole), commands[i].opts[j].name));
		}
		for (const char *p = buf_str(&brief), *nl; *p; p = nl + 1) {
			nl = strchr(p, '\n');
			assert_true(nl - p <= 100);
		}
	}
}

static void completions_name_every_option(void **state)
{
	static const char *const shells[] = {"bash", "zsh", "fish"};

	for (size_t s = 0; s < ARRAY_SIZE(shells); s++) {
		_cleanup_buf_ struct buf b = {0};

		assert_int_equal(cli_completion(commands, n_commands, shells[s], &b), 0);
		for (size_t i = 0; i < n_commands; i++)
			for (size_t j = 0; j < commands[i].n_opts; j++)
				assert_non_null(strstr(buf_str(&b), commands[i].opts[j].name));
	}
	_cleanup_buf_ struct buf b = {0};

	assert_int_equal(cli_completion(commands, n_commands, "csh", &b), -EINVAL);
}

static void out_of_memory(void **state)
{
	OOM_FOR_EACH(n)
	{
		char file[] = "[dfcache]\nttl = 3h\n", words[] = "a --tag x --application y -r";
		_cleanup_buf_ struct buf error = {0}, help = {0};
		CLEANUP(cli_fini) struct cli c = {0};
		int r = parse(&c, "import", words, &error);

		if (r == 0)
			r = cli_environment(&c, environment, &error);
		if (r == 0)
			r = cli_file(&c, commands, n_commands, "f", file, strlen(file), &error);
		if (r == 0)
			r = cli_defaults(&c);
		if (r == 0)
			cli_help(c.command, true, &help);
		oom_stop();
		if (r == 0) {
			assert_string_equal(cli_text(&c, "tag"), "x");
			assert_string_equal(cli_text(&c, "ttl"), "2h");
		} else {
			assert_int_equal(r, -ENOMEM);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes),
		cmocka_unit_test(refuses),
		cmocka_unit_test(required_option),
		cmocka_unit_test(option_environment_file_default),
		cmocka_unit_test(bad_environment_and_file),
		cmocka_unit_test(every_default_is_valid),
		cmocka_unit_test(help_names_every_option),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(completions_name_every_option),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
