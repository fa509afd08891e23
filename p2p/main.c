/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dfdaemon: arguments, configuration, log; the rest is daemon.c. The only file here that exits. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/num.h"
#include "common/privs.h"
#include "p2p/config.h"
#include "p2p/daemon.h"

#define EXIT_USAGE      2
#define EXIT_CONFIG     3
#define CONFIG_MAX_SIZE (1u << 20)

struct arguments {
	const char *config; /* NULL: the default path, which may be missing */
	const char *log_level;
	bool allow_root, console, dump, check;
	const char **sets; /* --set, in order; owned */
	size_t n_sets;
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"set", required_argument, NULL, 's'},
	{"log-level", required_argument, NULL, 'l'},
	{"console", no_argument, NULL, 'C'},
	{"allow-root", no_argument, NULL, 'R'},
	{"check-config", no_argument, NULL, 'k'},
	{"dump-config", no_argument, NULL, 'd'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void usage(FILE *f)
{
	fputs("Usage: dfdaemon [options]\n"
	      "\n"
	      "The peer of the piece cache: imports, serves and fetches persistent cache tasks.\n"
	      "\n"
	      "  -c, --config PATH      configuration (default " CONFIG_PATH ", if it exists)\n"
	      "      --set S.KEY=VALUE  one option of section S, over the file\n"
	      "  -l, --log-level LEVEL  error, warn, info or debug\n"
	      "      --console          log to standard error, whatever the file says\n"
	      "      --allow-root       do not refuse to run as root\n"
	      "      --check-config     read the configuration, report every error, end\n"
	      "      --dump-config      print every option with its value and meaning, end\n"
	      "  -h, --help             this text\n"
	      "  -V, --version          the version\n"
	      "\n"
	      "Options of the configuration (see dfcache.conf(5)):\n",
		f);
	for (size_t i = 0; i < config_n_options; i++) {
		const struct conf_option *o = &config_options[i];

		fprintf(f, "  %s.%s%s%s\n", o->section, o->key, o->def && *o->def ? " = " : "",
			o->def ? o->def : "");
	}
}

/* read_config - the file over the defaults, and what the command line says over it; 0 or an exit status with
 * the reasons in @errors */
static int read_config(const struct arguments *a, struct config *c, struct buf *errors)
{
	_cleanup_buf_ struct buf text = {0};
	const char *name = a->config ? a->config : CONFIG_PATH;
	int r = fd_read_file(AT_FDCWD, name, CONFIG_MAX_SIZE, &text);
	char reason[NUM_REASON];

	if (r < 0 && (r != -ENOENT || a->config)) {
		buf_addf(errors, "%s: %s\n", name, strerror(-r));
		return EXIT_CONFIG;
	}
	r = r < 0 ? 0 : config_parse(c, name, (char *)text.data, text.len, errors);
	if (r < 0)
		buf_adds(errors, "out of memory\n");
	if (r)
		return EXIT_CONFIG;
	for (size_t i = 0; i < a->n_sets; i++) {
		if (config_set(c, a->sets[i], reason) < 0) {
			buf_addf(errors, "--set %s: %s\n", a->sets[i], reason);
			return EXIT_USAGE;
		}
	}
	return 0;
}

static int reread(void *arg, struct config *c, struct buf *errors)
{
	const struct arguments *a = arg;
	char reason[NUM_REASON], level[40];
	int r = read_config(a, c, errors);

	if (r || !a->log_level)
		return r;
	snprintf(level, sizeof(level), "daemon.log_level=%s", a->log_level);
	return config_set(c, level, reason);
}

/* parse - 0, or an exit status + 1 when there is nothing more to do */
static int parse(int argc, char **argv, struct arguments *a)
{
	int o;

	a->sets = calloc((size_t)argc, sizeof(*a->sets));
	if (!a->sets)
		return EXIT_FAILURE + 1;
	while ((o = getopt_long(argc, argv, "c:l:hV", long_options, NULL)) != -1) {
		switch (o) {
		case 'c':
			a->config = optarg;
			break;
		case 's':
			a->sets[a->n_sets++] = optarg;
			break;
		case 'l':
			a->log_level = optarg;
			break;
		case 'C':
			a->console = true;
			break;
		case 'R':
			a->allow_root = true;
			break;
		case 'd':
			a->dump = true;
			break;
		case 'k':
			a->check = true;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS + 1;
		case 'V':
			puts("dfdaemon " VERSION);
			return EXIT_SUCCESS + 1;
		default:
			fputs("Try 'dfdaemon --help'.\n", stderr);
			return EXIT_USAGE + 1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "dfdaemon: unexpected argument '%s'\nTry 'dfdaemon --help'.\n",
			argv[optind]);
		return EXIT_USAGE + 1;
	}
	return 0;
}

static int start_log(const struct arguments *a, const struct config *c)
{
	const char *level = a->log_level ? a->log_level : c->log_level;
	bool to_file = c->log_file && *c->log_file && !a->console;
	int n = log_level_parse(level), r;

	if (n < 0) {
		fprintf(stderr, "dfdaemon: --log-level %s: not error, warn, info or debug\n",
			level);
		return EXIT_USAGE;
	}
	log_set_level(n);
	r = log_open(to_file ? LOG_SINK_FILE : LOG_SINK_STDERR, "dfdaemon",
		to_file ? c->log_file : NULL);
	if (r < 0) {
		fprintf(stderr, "dfdaemon: log file %s: %s\n", c->log_file, strerror(-r));
		return EXIT_CONFIG;
	}
	return 0;
}

static void prepare_process(void)
{
	sigset_t set;

	/* Few threads: one more arena than the loop's would only hold memory. Pieces that pass
	 * through memory are given back to the system. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL); /* threads inherit it */
	umask(022);
}

int main(int argc, char **argv)
{
	_cleanup_buf_ struct buf text = {0}, errors = {0};
	struct arguments a = {0};
	struct config c;
	int r;

	if (config_init(&c) < 0) {
		fputs("dfdaemon: out of memory\n", stderr);
		return EXIT_FAILURE;
	}
	r = parse(argc, argv, &a);
	if (r) {
		free(a.sets);
		config_fini(&c);
		return r - 1;
	}
	r = read_config(&a, &c, &errors);
	if (r) {
		fprintf(stderr, "dfdaemon: %s", buf_str(&errors));
		free(a.sets);
		config_fini(&c);
		return r;
	}
	if (a.dump) {
		config_dump(&c, &text);
		fputs(buf_str(&text), stdout);
	} else if (config_check(&c, &text)) {
		fprintf(stderr, "dfdaemon: the configuration contradicts itself:\n%s",
			buf_str(&text));
		r = EXIT_CONFIG;
	} else if (a.check) {
		puts("the configuration is good");
	} else if (geteuid() == 0 && !a.allow_root) {
		fputs("dfdaemon: refusing to run as root: it needs no privilege (run it as the "
		      "user dragonfly, or give --allow-root)\n",
			stderr);
		r = EXIT_USAGE;
	} else {
		r = start_log(&a, &c);
		if (r == 0) {
			prepare_process();
			privs_no_new_privs();
			r = daemon_run(&c, reread, &a) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
		}
	}
	free(a.sets);
	config_fini(&c);
	return r;
}
