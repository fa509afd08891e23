// SPDX-License-Identifier: GPL-2.0-or-later
/* devtalk — says a script to the control device of cachefiles and writes down the replies.
 *
 *	devtalk DEVICE TOP <recording >replies
 *
 * Each line of a recording is a step and what was replied, `STEP => REPLY`; old replies are ignored, so
 * that the output for the same input is the same where the device is. TOP is an empty directory on a
 * file system of its own. Steps:
 *	open, close		of the device
 *	again			a second open, closed at once
 *	w TEXT			write; \n, \0 and @TOP@ in TEXT are replaced. The reply is ok or an errno
 *	wlong N			write N letters
 *	r SIZE			read: the line, thresholds compared with statvfs instead of printed
 *	poll			IN, OUT, both or -
 *	cd DIR			working directory, beneath TOP
 *	mkdir, touch, fifo, link NAME	in the working directory; link points to /
 *	ls			names in the working directory
 *	fill PERCENT, unfill	a file outside of the cache leaves so much free
 *	# …			is copied
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *device, *top;
static int fd = -1;
static unsigned percent[6]; /* as written until bind: brun bcull bstop frun fcull fstop */
static int is_bound;
static const char *const words[] = {"brun", "bcull", "bstop", "frun", "fcull", "fstop"};

static const char *result(int r)
{
	return r >= 0 ? "ok" : strerrorname_np(errno);
}

static void say_write(const char *text, size_t n)
{
	ssize_t r = write(fd, text, n);

	if (r >= 0 && (size_t)r != n)
		printf("%zd of %zu\n", r, n);
	else
		puts(result((int)r));
}

static size_t unescape(const char *in, char *out, size_t cap)
{
	size_t n = 0;

	while (*in && n + 1 < cap) {
		if (!strncmp(in, "@TOP@", 5)) {
			n += (size_t)snprintf(out + n, cap - n, "%s", top);
			in += 5;
		} else if (in[0] == '\\' && (in[1] == 'n' || in[1] == '0')) {
			out[n++] = in[1] == 'n' ? '\n' : '\0';
			in += 2;
		} else {
			out[n++] = *in++;
		}
	}
	out[n] = '\0';
	return n;
}

static void do_write(const char *arg)
{
	char text[4096];
	size_t n = unescape(arg, text, sizeof(text));
	ssize_t r = write(fd, text, n);
	unsigned value;
	char word[16];

	puts(result((int)r));
	if (r >= 0 && !strcmp(text, "bind"))
		is_bound = 1;
	if (r < 0 || is_bound || sscanf(text, "%15s %u", word, &value) != 2)
		return;
	for (size_t i = 0; i < 6; i++)
		if (!strcmp(word, words[i]))
			percent[i] = value;
}

static void do_long(size_t n)
{
	char *text = malloc(n);

	memset(text, 'x', n);
	say_write(text, n);
	free(text);
}

/* the kernel divides first */
static int is_right(const char *key, unsigned long long value)
{
	struct statvfs v;

	if (statvfs(top, &v) < 0)
		return 0;
	for (size_t i = 0; i < 6; i++)
		if (!strcmp(key, words[i]))
			return value == (i < 3 ? v.f_blocks : v.f_files) / 100 * percent[i];
	return 0;
}

static void do_read(size_t size)
{
	char buf[4096], *save = NULL;
	ssize_t n = read(fd, buf, size < sizeof(buf) - 1 ? size : sizeof(buf) - 1);

	if (n < 0) {
		puts(result(-1));
		return;
	}
	buf[n] = '\0';
	if (!n || memchr(buf, '\n', (size_t)n) || strlen(buf) != (size_t)n)
		printf("%s", n ? "strange " : "nothing");
	for (char *s = strtok_r(buf, " ", &save); s; s = strtok_r(NULL, " ", &save)) {
		char *eq = strchr(s, '=');

		if (!eq) {
			printf("%s ", s);
			continue;
		}
		*eq = '\0';
		if (strlen(s) > 5 || !strcmp(s, "cull"))
			printf("%s=%s ", s, eq + 1);
		else
			printf("%s=%s ", s,
				is_right(s, strtoull(eq + 1, NULL, 16)) ? "right" : eq + 1);
	}
	putchar('\n');
}

static void do_poll(void)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

	poll(&p, 1, 0);
	printf("%s%s%s\n", p.revents & POLLIN ? "IN" : "", p.revents & POLLOUT ? "OUT" : "",
		p.revents ? "" : "-");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void do_ls(void)
{
	struct dirent **v;
	int n = scandir(".", &v, NULL, by_name);

	for (int i = 0; i < n; i++) {
		const char *name = v[i]->d_name;

		/* what the kernel buries is named by time and serial number */
		if (strlen(name) == 16 && strspn(name, "0123456789abcdef") == 16)
			printf("HEX16 ");
		else if (name[0] != '.')
			printf("%s ", name);
		free(v[i]);
	}
	free(v);
	putchar('\n');
}

static void do_fill(unsigned leave)
{
	char path[4096];
	struct statvfs v;
	int f;

	snprintf(path, sizeof(path), "%s/ballast", top);
	unlink(path);
	if (leave == 100)
		return;
	f = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (f < 0 || statvfs(top, &v) < 0)
		exit(1);
	unsigned long keep = v.f_blocks / 100 * leave;

	if (v.f_bavail > keep && posix_fallocate(f, 0, (off_t)((v.f_bavail - keep) * v.f_frsize)))
		exit(1);
	close(f);
}

static void do_cd(const char *arg)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", top, arg);
	puts(result(chdir(path)));
}

static void step(const char *verb, const char *arg)
{
	if (!strcmp(verb, "open")) {
		static const unsigned defaults[6] = {7, 5, 1, 7, 5, 1};

		memcpy(percent, defaults, sizeof(percent));
		is_bound = 0;
		fd = open(device, O_RDWR | O_CLOEXEC);
		puts(result(fd));
	} else if (!strcmp(verb, "close")) {
		puts(result(close(fd)));
	} else if (!strcmp(verb, "again")) {
		int second = open(device, O_RDONLY | O_CLOEXEC);

		puts(result(second));
		if (second >= 0)
			close(second);
	} else if (!strcmp(verb, "w")) {
		do_write(arg);
	} else if (!strcmp(verb, "wlong")) {
		do_long((size_t)atoi(arg));
	} else if (!strcmp(verb, "r")) {
		do_read((size_t)atoi(arg));
	} else if (!strcmp(verb, "poll")) {
		do_poll();
	} else if (!strcmp(verb, "cd")) {
		do_cd(arg);
	} else if (!strcmp(verb, "mkdir")) {
		puts(result(mkdir(arg, 0700)));
	} else if (!strcmp(verb, "touch")) {
		puts(result(close(open(arg, O_WRONLY | O_CREAT | O_CLOEXEC, 0600))));
	} else if (!strcmp(verb, "fifo")) {
		puts(result(mkfifo(arg, 0600)));
	} else if (!strcmp(verb, "link")) {
		puts(result(symlink("/", arg)));
	} else if (!strcmp(verb, "ls")) {
		do_ls();
	} else if (!strcmp(verb, "fill") || !strcmp(verb, "unfill")) {
		do_fill(*verb == 'f' ? (unsigned)atoi(arg) : 100);
		puts("ok");
	} else {
		fprintf(stderr, "devtalk: unknown step '%s'\n", verb);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	char line[4096];

	if (argc != 3)
		return 2;
	device = argv[1];
	top = argv[2];
	while (fgets(line, sizeof(line), stdin)) {
		char *end, *arg;

		line[strcspn(line, "\n")] = '\0';
		if (!*line || *line == '#') {
			puts(line);
			continue;
		}
		end = strstr(line, " => ");
		if (end)
			*end = '\0';
		printf("%s => ", line);
		arg = strchr(line, ' ');
		if (arg)
			*arg++ = '\0';
		step(line, arg ? arg : "");
		fflush(stdout);
	}
	return 0;
}
