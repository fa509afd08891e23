// SPDX-License-Identifier: GPL-2.0-or-later
/* cullfloor — what culling must cost at least: one walk, and a bare loop of `cull` writes.
 *
 *	cullfloor populate DIR N	N objects below DIR/cache/Ivol, number i used at second i of an
 *					epoch; spread over the fan-out in another order
 *	cullfloor walk DIR		getdents and statx of everything, nothing else
 *	cullfloor cull DIR N		bind DIR and write `cull` for the objects 0 … N-1
 *	cullfloor check DIR N		are exactly the youngest of N left? prints how many
 * walk and cull print "wall SECONDS cpu SECONDS".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EPOCH 1577836800

static int volume; /* descriptor of DIR/cache/Ivol */
static int fan[256];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static unsigned fan_of(unsigned i)
{
	return i * 2654435761u >> 24;
}

static void open_fan(const char *top, int make)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/cache", top);
	if (make)
		mkdir(path, 0700);
	strcat(path, "/Ivol");
	if (make && mkdir(path, 0700) < 0)
		die(path);
	volume = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (volume < 0)
		die(path);
	for (unsigned i = 0; i < 256; i++) {
		snprintf(path, sizeof(path), "@%02x", i);
		if (make && mkdirat(volume, path, 0700) < 0)
			die(path);
		fan[i] = openat(volume, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fan[i] < 0)
			die(path);
	}
}

static void populate(const char *top, unsigned n)
{
	open_fan(top, 1);
	/* made in an order that has nothing to do with the times of use; 48271 is prime */
	for (uint64_t k = 0; k < n; k++) {
		unsigned i = (unsigned)(k * 48271 % n);
		struct timespec t[2] = {{.tv_sec = EPOCH + i}, {.tv_nsec = UTIME_OMIT}};
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "T%08x,", i);
		fd = openat(fan[fan_of(i)], name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0);
		if (fd < 0 || futimens(fd, t) < 0)
			die(name);
		close(fd);
	}
}

static void walk(int dirfd, const char *name)
{
	_Alignas(struct dirent64) char block[32768];
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		die(name);
	while ((n = getdents64(fd, block, sizeof(block))) > 0)
		for (ssize_t pos = 0; pos < n;) {
			const struct dirent64 *e = (const void *)(block + pos);
			struct statx sx;

			pos += e->d_reclen;
			if (e->d_name[0] == '.')
				continue;
			if (e->d_type == DT_DIR)
				walk(fd, e->d_name);
			else if (statx(fd, e->d_name, AT_SYMLINK_NOFOLLOW, STATX_ATIME, &sx) < 0)
				die(e->d_name);
		}
	close(fd);
}

static void command(int dev, const char *text)
{
	if (write(dev, text, strlen(text)) < 0)
		die(text);
}

static int bind_cache(const char *top)
{
	const char *fake = getenv("CACHEFILESD_DEVICE");
	char text[4096];
	int dev = open(fake ? fake : "/dev/cachefiles", O_RDWR | O_CLOEXEC);

	if (dev < 0)
		die("/dev/cachefiles");
	snprintf(text, sizeof(text), "dir %s", top);
	command(dev, text);
	command(dev, "tag floor");
	command(dev, "bind");
	return dev;
}

static void cull(int dev, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char text[32];

		snprintf(text, sizeof(text), "cull T%08x,", i);
		if (fchdir(fan[fan_of(i)]) < 0)
			die("fchdir");
		command(dev, text);
	}
}

static int check(unsigned n)
{
	unsigned oldest = UINT32_MAX, left = 0;

	for (unsigned i = 0; i < 256; i++) {
		DIR *d = fdopendir(fan[i]);
		struct dirent *e;

		while (d && (e = readdir(d))) {
			unsigned number;

			if (sscanf(e->d_name, "T%8x", &number) != 1)
				continue;
			left++;
			oldest = number < oldest ? number : oldest;
		}
	}
	printf("%u\n", left);
	return !left || oldest == n - left ? 0 : 1;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	unsigned n = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	struct timespec began, ended;
	struct rusage before, after;
	int dev = -1;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "populate")) {
		populate(argv[2], n);
		return 0;
	}
	open_fan(argv[2], 0);
	if (!strcmp(argv[1], "check"))
		return check(n);
	if (!strcmp(argv[1], "cull"))
		dev = bind_cache(argv[2]);
	getrusage(RUSAGE_SELF, &before);
	clock_gettime(CLOCK_MONOTONIC, &began);
	if (dev >= 0)
		cull(dev, n);
	else
		walk(volume, "..");
	clock_gettime(CLOCK_MONOTONIC, &ended);
	getrusage(RUSAGE_SELF, &after);
	printf("wall %.3f cpu %.3f\n",
		(double)(ended.tv_sec - began.tv_sec) +
			(double)(ended.tv_nsec - began.tv_nsec) / 1e9,
		seconds(after.ru_utime) + seconds(after.ru_stime) - seconds(before.ru_utime) -
			seconds(before.ru_stime));
	return 0;
}
