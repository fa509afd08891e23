/* SPDX-License-Identifier: GPL-2.0-or-later */
/* recorddisk.c — a disk whose writes are recorded, for hosts without dm-log-writes: a FUSE file system with
 * the files `disk` (to be attached to a loop device) and `mark` (what is written there becomes a mark). The
 * log has the format of dm-log-writes, so that tests/tools/replaylog reads both. A write is in the log when
 * it is answered, a flush (fsync) is an entry of its own: what lies between two flushes may be lost
 * in any part.
 *
 *   recorddisk LOG DATA BYTES MOUNTPOINT      in the foreground, until it is unmounted
 */
#define FUSE_USE_VERSION 31
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define MAGIC  0x6a736677736872ull
#define FLUSH  1u
#define MARK   8u

static int log_fd, data_fd;
static uint64_t log_at = SECTOR, n_entries, disk_bytes;

static int put(int fd, const void *p, size_t n, uint64_t at)
{
	return pwrite(fd, p, n, (off_t)at) == (ssize_t)n ? 0 : -EIO;
}

static int put_super(void)
{
	struct {
		uint64_t magic, version, n;
		uint32_t sector;
	} __attribute__((packed))
	s = {htole64(MAGIC), htole64(1), htole64(n_entries), htole32(SECTOR)};

	return put(log_fd, &s, sizeof(s), 0);
}

static int add(unsigned flags, uint64_t offset, const char *data, size_t n)
{
	union {
		uint64_t v[4];
		char room[SECTOR];
	} e = {{0}};
	bool is_mark = flags & MARK;
	int r;

	if (!is_mark && (offset % SECTOR || n % SECTOR))
		return -EINVAL;
	if (is_mark && n > SECTOR - sizeof(e.v))
		n = SECTOR - sizeof(e.v);
	e.v[0] = htole64(offset / SECTOR);
	e.v[1] = htole64(is_mark ? 0 : n / SECTOR);
	e.v[2] = htole64(flags);
	e.v[3] = htole64(is_mark ? n : 0);
	if (is_mark)
		memcpy(e.room + sizeof(e.v), data, n);
	r = put(log_fd, &e, sizeof(e), log_at);
	if (!r && !is_mark && n)
		r = put(log_fd, data, n, log_at + SECTOR);
	if (r)
		return r;
	log_at += SECTOR + (is_mark ? 0 : n);
	n_entries++;
	return put_super();
}

static bool is_disk(const char *path)
{
	return strcmp(path, "/disk") == 0;
}

static int do_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	memset(st, 0, sizeof(*st));
	st->st_mode = strcmp(path, "/") == 0 ? S_IFDIR | 0700 : S_IFREG | 0600;
	st->st_nlink = 1;
	if (is_disk(path))
		st->st_size = (off_t)disk_bytes;
	else if (strcmp(path, "/") != 0 && strcmp(path, "/mark") != 0)
		return -ENOENT;
	return 0;
}

static int do_open(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	fi->direct_io = 1;
	return 0;
}

static int do_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	(void)path;
	(void)size;
	(void)fi;
	return 0; /* a shell's > */
}

static int do_read(const char *path, char *buf, size_t n, off_t at, struct fuse_file_info *fi)
{
	ssize_t got = is_disk(path) ? pread(data_fd, buf, n, at) : 0;

	(void)fi;
	return got < 0 ? -errno : (int)got;
}

static int do_write(
	const char *path, const char *buf, size_t n, off_t at, struct fuse_file_info *fi)
{
	int r;

	(void)fi;
	if (!is_disk(path)) {
		size_t len = n && buf[n - 1] == '\n' ? n - 1 : n;

		r = add(MARK, 0, buf, len);
		return r ? r : (int)n;
	}
	r = put(data_fd, buf, n, (uint64_t)at);
	if (!r)
		r = add(0, (uint64_t)at, buf, n);
	return r ? r : (int)n;
}

static int do_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	(void)data_only;
	(void)fi;
	return is_disk(path) ? add(FLUSH, 0, NULL, 0) : 0;
}

static const struct fuse_operations ops = {
	.getattr = do_getattr,
	.open = do_open,
	.truncate = do_truncate,
	.read = do_read,
	.write = do_write,
	.fsync = do_fsync,
};

int main(int argc, char **argv)
{
	static char foreground[] = "-f", single[] = "-s";
	char *args[] = {argv[0], foreground, single, argc > 4 ? argv[4] : NULL, NULL};

	if (argc != 5)
		return 2;
	disk_bytes = strtoull(argv[3], NULL, 10);
	log_fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	data_fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (log_fd < 0 || data_fd < 0 || ftruncate(data_fd, (off_t)disk_bytes) || put_super()) {
		perror("recorddisk");
		return 1;
	}
	return fuse_main(4, args, &ops, NULL);
}
