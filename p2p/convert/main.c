/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dfdaemon-convert: an upstream /etc/dragonfly/dfdaemon.yaml becomes our two files. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "p2p/convert/convert.h"
#include "p2p/convert/yaml.h"

#define YAML_PATH  "/etc/dragonfly/dfdaemon.yaml"
#define EXIT_USAGE 2
#define EXIT_INPUT 3

static const struct option long_options[] = {
	{"dynconfig", required_argument, NULL, 'd'},
	{"output", required_argument, NULL, 'o'},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static void usage(void)
{
	puts("Usage: dfdaemon-convert [options] [FILE]\n"
	     "\n"
	     "Translates the configuration of Dragonfly's dfdaemon (default " YAML_PATH ")\n"
	     "to dfcache.conf and cachefilesd.conf. What becomes of every key is said on standard error.\n"
	     "\n"
	     "  -d, --dynconfig FILE  upstream's dynconfig.yaml, which names the schedulers\n"
	     "  -o, --output DIR      write DIR/dfcache.conf and DIR/cachefilesd.conf, which must not exist;\n"
	     "                        else both go to standard output\n"
	     "  -q, --quiet           report only what was not taken\n"
	     "  -h, --help            this text\n"
	     "  -V, --version         the version");
}

static int read_input(const char *path, struct buf *out)
{
	int r = fd_read_file(AT_FDCWD, path, YAML_SIZE_MAX, out);

	if (r < 0)
		fprintf(stderr, "dfdaemon-convert: %s: %s\n", path, strerror(-r));
	return r;
}

static int write_output(const char *dir, const char *name, const struct buf *text)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_fd_ int fd = -1;
	int r = 0;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		r = -errno;
	if (r == 0)
		r = fd_write_full(fd, text->data, text->len);
	if (r < 0)
		fprintf(stderr, "dfdaemon-convert: %s: %s\n", path, strerror(-r));
	return r;
}

static void print_report(struct buf *report, bool quiet)
{
	char *rest = NULL;

	for (char *line = strtok_r((char *)buf_str(report), "\n", &rest); line;
		line = strtok_r(NULL, "\n", &rest))
		if (!quiet || strncmp(line, "taken", 5) != 0)
			fprintf(stderr, "%s\n", line);
}

static int convert(const char *file, const char *dynconfig, const char *dir, bool quiet)
{
	_cleanup_buf_ struct buf yaml = {0}, dyn = {0};
	struct convert_result c;
	int r;

	if (read_input(file, &yaml) < 0 || (dynconfig && read_input(dynconfig, &dyn) < 0))
		return EXIT_INPUT;
	r = convert_run(
		&c, (const char *)yaml.data, yaml.len, dynconfig ? buf_str(&dyn) : NULL, dyn.len);
	print_report(&c.report, quiet);
	if (r < 0) {
		fprintf(stderr, "dfdaemon-convert: nothing was written: %s\n",
			r == -ENOMEM ? "out of memory" : "see the lines that begin with \"wrong\"");
		r = EXIT_INPUT;
	} else if (dir) {
		r = write_output(dir, "dfcache.conf", &c.dfcache) < 0 ||
				    write_output(dir, "cachefilesd.conf", &c.cachefilesd) < 0
			    ? EXIT_FAILURE
			    : 0;
	} else {
		printf("# ---- dfcache.conf\n%s\n# ---- cachefilesd.conf\n%s", buf_str(&c.dfcache),
			buf_str(&c.cachefilesd));
	}
	if (r == 0)
		fprintf(stderr, "dfdaemon-convert: %zu taken, %zu left, %zu unknown\n", c.n_taken,
			c.n_left, c.n_unknown);
	convert_fini(&c);
	return r;
}

int main(int argc, char **argv)
{
	const char *dynconfig = NULL, *dir = NULL;
	bool quiet = false;
	int o;

	while ((o = getopt_long(argc, argv, "d:o:qhV", long_options, NULL)) != -1) {
		switch (o) {
		case 'd':
			dynconfig = optarg;
			break;
		case 'o':
			dir = optarg;
			break;
		case 'q':
			quiet = true;
			break;
		case 'h':
			usage();
			return EXIT_SUCCESS;
		case 'V':
			puts("dfdaemon-convert " VERSION);
			return EXIT_SUCCESS;
		default:
			fputs("Try 'dfdaemon-convert --help'.\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (argc - optind > 1) {
		fprintf(stderr, "dfdaemon-convert: unexpected argument '%s'\n", argv[optind + 1]);
		return EXIT_USAGE;
	}
	return convert(optind < argc ? argv[optind] : YAML_PATH, dynconfig, dir, quiet);
}
