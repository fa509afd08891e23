/* SPDX-License-Identifier: GPL-2.0-or-later */
/* layout.c — see layout.h.
 *
 * Crash order. A partial needs no order: what does not verify at start is removed. A commit writes
 * the complete record and syncs it, syncs its directory, renames, syncs the shard: before the rename
 * is durable the task is a partial with all pieces, afterwards it is complete. A removal is one
 * rename out of the way; a crash before it is durable leaves the task whole.
 */
#include "cachefilesd/store/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/fsverity.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cachefilesd/api/proto.h"
#include "common/buf.h"
#include "common/cleanup.h"
#include "common/digest.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/path.h"

#define FORMAT_LINE "dfcachefiles pieces 1\n"
#define SECOND      1000000000ull
#define PATH_ROOM   (8 + STORE_ID_MAX + 16)

/* ---- names ----------------------------------------------------------------------------------- */

void layout_token_text(const uint8_t token[STORE_TOKEN_SIZE], char out[LAYOUT_TOKEN_TEXT])
{
	for (size_t i = 0; i < STORE_TOKEN_SIZE; i++)
		sprintf(out + 2 * i, "%02x", token[i]);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int layout_token_parse(const char *text, uint8_t token[STORE_TOKEN_SIZE])
{
	if (strlen(text) != 2 * STORE_TOKEN_SIZE)
		return -EINVAL;
	for (size_t i = 0; i < STORE_TOKEN_SIZE; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		token[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

static void shard_name(const char *id, char out[3])
{
	snprintf(out, 3, "%02x", digest_crc32(0, id, strlen(id)) & 0xff);
}

/* "<shard>/<id><tail>"; the id was validated when it entered the index */
static void task_path(const char *id, const char *tail, char out[PATH_ROOM])
{
	char shard[3];

	shard_name(id, shard);
	snprintf(out, PATH_ROOM, "%s/%s%s", shard, id, tail);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int make_dir(int dirfd, const char *name)
{
	if (mkdirat(dirfd, name, 0700) && errno != EEXIST)
		return -errno;
	return path_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
}

static void read_boot_id(uint64_t boot[2])
{
	_cleanup_buf_ struct buf b = {0};
	int n = 0;

	boot[0] = boot[1] = 0;
	if (fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &b))
		return;
	for (size_t i = 0; i < b.len && n < 32; i++) {
		int d = hex_digit((char)b.data[i]);

		if (d < 0)
			continue;
		boot[n / 16] = boot[n / 16] << 4 | (unsigned)d;
		n++;
	}
}

static int check_format(struct layout *l, char *reason)
{
	char line[sizeof(FORMAT_LINE) + 8] = "";
	ssize_t n;

	l->format = path_open_beneath(l->pieces, "format", O_RDWR | O_CREAT, 0600);
	if (l->format < 0) {
		snprintf(reason, 256, "cannot open pieces/format: %s", strerror(-l->format));
		return l->format;
	}
	if (flock(l->format, LOCK_EX | LOCK_NB)) {
		int e = errno;

		snprintf(reason, 256, "%s",
			e == EWOULDBLOCK ? "another daemon uses this directory" : strerror(e));
		return e == EWOULDBLOCK ? -EBUSY : -e;
	}
	n = fd_pread_full(l->format, line, sizeof(line) - 1, 0);
	if (n < 0)
		return (int)n;
	if (n == 0) {
		int rc = fd_pwrite_full(l->format, FORMAT_LINE, strlen(FORMAT_LINE), 0);

		if (!rc && (fsync(l->format) || fsync(l->pieces)))
			rc = -errno;
		if (rc)
			snprintf(reason, 256, "cannot write pieces/format: %s", strerror(-rc));
		return rc;
	}
	if (strcmp(line, FORMAT_LINE) != 0) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(reason, 256,
			"pieces/format says \"%s\", this program reads \"dfcachefiles pieces 1\": "
			"made by another version",
			line);
		return -ENOTSUP;
	}
	return 0;
}

int layout_open(struct layout *l, int dirfd, char *reason)
{
	static const char *const names[] = {"tasks", "incoming", "trash"};
	int *const fds[] = {&l->tasks, &l->incoming, &l->trash};
	int rc;

	*l = (struct layout){.pieces = -1, .tasks = -1, .incoming = -1, .trash = -1, .format = -1};
	read_boot_id(l->boot);
	l->pieces = make_dir(dirfd, "pieces");
	if (l->pieces < 0) {
		rc = l->pieces;
		snprintf(reason, 256, "cannot make or open pieces/: %s", strerror(-rc));
		return rc;
	}
	rc = check_format(l, reason);
	for (size_t i = 0; !rc && i < ARRAY_SIZE(names); i++) {
		*fds[i] = make_dir(l->pieces, names[i]);
		if (*fds[i] < 0) {
			rc = *fds[i];
			snprintf(reason, 256, "cannot make or open pieces/%s: %s", names[i],
				strerror(-rc));
		}
	}
	if (rc)
		layout_close(l);
	return rc;
}

int layout_open_shared(struct layout *l, int dirfd, char *reason)
{
	*l = (struct layout){.tasks = -1, .incoming = -1, .trash = -1, .format = -1};
	l->pieces = path_open_beneath(dirfd, "pieces", O_RDONLY | O_DIRECTORY, 0);
	if (l->pieces >= 0) {
		l->tasks = path_open_beneath(l->pieces, "tasks", O_RDONLY | O_DIRECTORY, 0);
		l->incoming = path_open_beneath(l->pieces, "incoming", O_RDONLY | O_DIRECTORY, 0);
		l->trash = path_open_beneath(l->pieces, "trash", O_RDONLY | O_DIRECTORY, 0);
	}
	if (l->pieces < 0 || l->tasks < 0 || l->incoming < 0 || l->trash < 0) {
		int rc = l->pieces < 0     ? l->pieces
			 : l->tasks < 0    ? l->tasks
			 : l->incoming < 0 ? l->incoming
					   : l->trash;

		snprintf(reason, 256, "cannot open pieces/: %s", strerror(-rc));
		layout_close(l);
		return rc;
	}
	return 0;
}

void layout_close(struct layout *l)
{
	l->pieces = fd_close(l->pieces);
	l->tasks = fd_close(l->tasks);
	l->incoming = fd_close(l->incoming);
	l->trash = fd_close(l->trash);
	l->format = fd_close(l->format);
}

/* ---- partials -------------------------------------------------------------------------------- */

static int data_open(int dirfd, const char *path, int flags)
{
	int fd = path_open_beneath(dirfd, path, flags | O_NOATIME, 0600);

	/* not the owner (a directory given to another user): atime is then the kernel's business */
	if (fd == -EPERM)
		fd = path_open_beneath(dirfd, path, flags, 0600);
	return fd;
}

static void remove_partial_dir(struct layout *l, const char *name)
{
	path_remove_tree(l->incoming, name, NULL);
}

/* blocks for the whole promise; file systems that cannot (-EOPNOTSUPP) are left to the count of
 * promises that admission keeps */
static int reserve_blocks(int fd, uint64_t reserve)
{
	if (!reserve || !fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)reserve))
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

int layout_create(struct layout *l, struct record *r, uint64_t reserve, int *data, int *read_only,
	int *record)
{
	_cleanup_fd_ int dir = -1, d = -1, ro = -1, m = -1;
	char name[LAYOUT_TOKEN_TEXT];
	int rc;

	if (r->info.length > INT64_MAX || reserve > INT64_MAX)
		return -EFBIG;
	if (getrandom(r->token, sizeof(r->token), 0) != (ssize_t)sizeof(r->token))
		return -EIO;
	memcpy(r->boot, l->boot, sizeof(r->boot));
	layout_token_text(r->token, name);
	dir = make_dir(l->incoming, name);
	if (dir < 0)
		return dir;
	d = data_open(dir, "data", O_RDWR | O_CREAT | O_EXCL);
	rc = d < 0 ? d : 0;
	if (!rc && ftruncate(d, (off_t)r->info.length))
		rc = -errno;
	if (!rc)
		rc = reserve_blocks(d, reserve);
	if (!rc) {
		ro = data_open(dir, "data", O_RDONLY);
		rc = ro < 0 ? ro : 0;
	}
	if (!rc) {
		m = path_open_beneath(dir, "meta", O_RDWR | O_CREAT | O_EXCL, 0600);
		rc = m < 0 ? m : record_write(m, r);
	}
	if (rc) {
		remove_partial_dir(l, name);
		return rc;
	}
	*data = take_fd(&d);
	*read_only = take_fd(&ro);
	*record = take_fd(&m);
	return 0;
}

int layout_attach(struct layout *l, const uint8_t token[STORE_TOKEN_SIZE], struct record *r,
	int *data, int *read_only, int *record)
{
	_cleanup_fd_ int dir = -1, d = -1, ro = -1, m = -1;
	char name[LAYOUT_TOKEN_TEXT];
	int rc;

	layout_token_text(token, name);
	dir = path_open_beneath(l->incoming, name, O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	m = path_open_beneath(dir, "meta", O_RDWR, 0);
	if (m < 0)
		return m;
	rc = record_read(m, r);
	if (rc)
		return rc;
	if (memcmp(r->token, token, STORE_TOKEN_SIZE) != 0)
		return -EBADMSG;
	/* a commit that was interrupted may have left it complete and read-only */
	r->info.state = STORE_PARTIAL;
	r->info.n_present = 0;
	ro = data_open(dir, "data", O_RDONLY);
	if (ro < 0)
		return ro;
	if (fchmod(ro, 0600))
		return -errno;
	d = data_open(dir, "data", O_RDWR);
	if (d < 0)
		return d;
	*data = take_fd(&d);
	*read_only = take_fd(&ro);
	*record = take_fd(&m);
	return 0;
}

int layout_open_record(struct layout *l, const uint8_t token[STORE_TOKEN_SIZE])
{
	char path[LAYOUT_TOKEN_TEXT + 8];

	layout_token_text(token, path);
	strcat(path, "/meta");
	return path_open_beneath(l->incoming, path, O_RDONLY, 0);
}

bool layout_is_this_boot(const struct layout *l, const struct record *r)
{
	return memcmp(r->boot, l->boot, sizeof(r->boot)) == 0;
}

int layout_recheck(struct layout *l, struct record *r, int data, int record, uint32_t *n_cleared)
{
	enum { CHUNK = 1 << 20, AT_ONCE = 256 };
	_cleanup_free_ uint8_t *buf = malloc(CHUNK);
	struct record_piece p[AT_ONCE];
	int rc = 0;

	*n_cleared = 0;
	if (!buf)
		return -ENOMEM;
	for (uint32_t first = 0; first < r->info.n_pieces; first += AT_ONCE) {
		uint32_t n =
			r->info.n_pieces - first < AT_ONCE ? r->info.n_pieces - first : AT_ONCE;

		rc = record_read_pieces(record, r, first, n, p);
		if (rc)
			return rc;
		for (uint32_t i = 0; i < n; i++) {
			uint64_t off = (uint64_t)(first + i) * r->info.piece_length;
			uint64_t left = r->info.length - off < r->info.piece_length
						? r->info.length - off
						: r->info.piece_length;
			uint32_t crc = 0;

			if (!p[i].present)
				continue;
			while (left) {
				ssize_t got =
					fd_pread_full(data, buf, left < CHUNK ? left : CHUNK, off);

				if (got <= 0)
					break; /* an unreadable piece is a piece less */
				crc = digest_crc32(crc, buf, (size_t)got);
				off += (uint64_t)got;
				left -= (uint64_t)got;
			}
			if (!left && crc == p[i].crc32)
				continue;
			rc = record_clear_piece(record, first + i);
			if (rc)
				return rc;
			++*n_cleared;
		}
	}
	/* what is on the disk now was read from it, or is in this boot's page cache: either way it
	 * is as durable as anything written from here on */
	if (fdatasync(data) || fdatasync(record))
		return -errno;
	memcpy(r->boot, l->boot, sizeof(r->boot));
	rc = record_write(record, r);
	return rc;
}

/* ---- commit ---------------------------------------------------------------------------------- */

/* reserved blocks that were never written are holes to SEEK_DATA, and occupied all the same */
static void punch_unwritten(int fd, uint64_t length)
{
	off_t hole = 0;

	while ((hole = lseek(fd, hole, SEEK_HOLE)) >= 0 && (uint64_t)hole < length) {
		off_t data = lseek(fd, hole, SEEK_DATA);

		if (data < 0)
			data = (off_t)length;
		if (fd_punch_hole(fd, (uint64_t)hole, (uint64_t)(data - hole)))
			return; /* then it stays reserved; the size is counted from the disk */
		hole = data;
	}
}

static void enable_verity(int fd)
{
	struct fsverity_enable_arg arg = {
		.version = 1, .hash_algorithm = FS_VERITY_HASH_ALG_SHA256, .block_size = 4096};

	int rc;

	/* it asks for the right to write, and we have no capability to go without; a writer that opened it
	 * meanwhile makes it fail, and once it is on, nobody can write */
	fchmod(fd, 0600);
	rc = ioctl(fd, FS_IOC_ENABLE_VERITY, &arg) ? errno : 0;
	fchmod(fd, 0400);
	if (rc && rc != EEXIST)
		LOG_LIMITED(LOG_WARNING, "store: fs-verity could not be switched on reason=%s",
			strerror(rc));
}

/* 0 when nobody can write any more through an open descriptor */
static int prove_no_writer(int fd)
{
	if (!fcntl(fd, F_SETLEASE, F_RDLCK)) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return 0;
	}
	if (errno == EAGAIN || errno == EBUSY)
		return -ETXTBSY;
	LOG_LIMITED(LOG_WARNING,
		"store: this file system cannot prove that a file has no writer reason=%s",
		strerror(errno));
	return 0;
}

static int make_shard(struct layout *l, const char *id, int *fd)
{
	char shard[3];
	int rc;

	shard_name(id, shard);
	*fd = path_open_beneath(l->tasks, shard, O_RDONLY | O_DIRECTORY, 0);
	if (*fd != -ENOENT)
		return *fd < 0 ? *fd : 0;
	*fd = rc = make_dir(l->tasks, shard);
	if (rc >= 0 && fsync(l->tasks))
		return -errno;
	return rc < 0 ? rc : 0;
}

static uint64_t bytes_of(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512;
}

int layout_commit(
	struct layout *l, struct record *r, int record, bool punch, bool verity, uint64_t *bytes)
{
	_cleanup_fd_ int dir = -1, data = -1, shard = -1;
	char name[LAYOUT_TOKEN_TEXT], trashed[LAYOUT_TRASH_TEXT];
	struct stat st, meta_st;
	int rc;

	layout_token_text(r->token, name);
	dir = path_open_beneath(l->incoming, name, O_RDONLY | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	if (punch) {
		data = data_open(dir, "data", O_RDWR);
		if (data < 0)
			return data;
		punch_unwritten(data, r->info.length);
		data = fd_close(data);
	}
	data = data_open(dir, "data", O_RDONLY);
	if (data < 0)
		return data;
	if (fchmod(data, 0400))
		return -errno;
	rc = prove_no_writer(data);
	if (!rc && fstat(data, &st))
		rc = -errno;
	if (!rc && (uint64_t)st.st_size != r->info.length)
		rc = -EBADMSG;
	if (!rc)
		rc = make_shard(l, r->info.id, &shard);
	if (rc)
		goto writable;
	if (verity)
		enable_verity(data);
	r->info.state = STORE_COMPLETE;
	rc = record_write(record, r);
	if (!rc && (fdatasync(record) || fsync(dir)))
		rc = -errno;
	if (rc)
		goto writable;
	if (renameat(l->incoming, name, shard, r->info.id)) {
		rc = -errno;
		/* the index has no such task, so this is what a damaged one left: move it away */
		if ((rc == -ENOTEMPTY || rc == -EEXIST) &&
			!layout_trash_task(l, r->info.id, 'd', trashed))
			rc = renameat(l->incoming, name, shard, r->info.id) ? -errno : 0;
		if (rc)
			goto writable;
	}
	if (fsync(shard))
		return -errno;
	*bytes = bytes_of(&st) + (fstat(record, &meta_st) ? 0 : bytes_of(&meta_st));
	return 0;
writable:
	fchmod(data, 0600);
	return rc;
}

int layout_open_task(struct layout *l, const char *id, int *data, int *record)
{
	_cleanup_fd_ int d = -1, m = -1;
	char path[PATH_ROOM];

	task_path(id, "/data", path);
	d = data_open(l->tasks, path, O_RDONLY);
	if (d < 0)
		return d;
	if (record) {
		task_path(id, "/meta", path);
		m = path_open_beneath(l->tasks, path, O_RDONLY, 0);
		if (m < 0)
			return m;
		*record = take_fd(&m);
	}
	*data = take_fd(&d);
	return 0;
}

int layout_rewrite(struct layout *l, const char *id, struct record *r,
	void (*change)(void *arg, struct record *r), void *arg)
{
	_cleanup_fd_ int m = -1;
	char path[PATH_ROOM];
	int rc;

	task_path(id, "/meta", path);
	m = path_open_beneath(l->tasks, path, O_RDWR, 0);
	if (m < 0)
		return m;
	rc = record_read(m, r);
	if (rc)
		return rc;
	change(arg, r);
	rc = record_write(m, r);
	if (!rc && fdatasync(m))
		rc = -errno;
	return rc;
}

void layout_used(struct layout *l, const char *id, uint64_t used_ns)
{
	char path[PATH_ROOM];
	struct timespec ts[2] = {
		{.tv_sec = (time_t)(used_ns / SECOND), .tv_nsec = (long)(used_ns % SECOND)},
		{.tv_nsec = UTIME_OMIT}};

	/* only the order of culling after a restart suffers */
	task_path(id, "/data", path);
	(void)!utimensat(l->tasks, path, ts, AT_SYMLINK_NOFOLLOW);
}

/* ---- removal --------------------------------------------------------------------------------- */

static void trash_name(struct layout *l, char mark, char name[LAYOUT_TRASH_TEXT])
{
	snprintf(name, LAYOUT_TRASH_TEXT, "%c%016llx", mark,
		(unsigned long long)__atomic_add_fetch(&l->next_trash, 1, __ATOMIC_RELAXED));
}

static int move_to_trash(
	struct layout *l, int dirfd, const char *from, char mark, char name[LAYOUT_TRASH_TEXT])
{
	/* names of an earlier run that could not be deleted may still be there */
	for (int i = 0; i < 1000; i++) {
		trash_name(l, mark, name);
		if (!renameat(dirfd, from, l->trash, name))
			return 0;
		if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
			return -errno;
	}
	return -EEXIST;
}

int layout_trash_task(struct layout *l, const char *id, char mark, char name[LAYOUT_TRASH_TEXT])
{
	char path[PATH_ROOM];

	task_path(id, "", path);
	return move_to_trash(l, l->tasks, path, mark, name);
}

int layout_trash_partial(struct layout *l, const uint8_t token[STORE_TOKEN_SIZE], char mark,
	char name[LAYOUT_TRASH_TEXT])
{
	char text[LAYOUT_TOKEN_TEXT];

	layout_token_text(token, text);
	return move_to_trash(l, l->incoming, text, mark, name);
}

int layout_sync_task(struct layout *l, const char *id)
{
	_cleanup_fd_ int fd = -1;
	char shard[3];

	shard_name(id, shard);
	fd = path_open_beneath(l->tasks, shard, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	return fsync(fd) ? -errno : 0;
}

/* blocks of @fd that no other file shares; file systems without reflinks have no such flag */
static uint64_t private_bytes(int fd, bool *is_shared)
{
	enum { EXTENTS = 128 };
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
	} u;
	uint64_t shared = 0, at = 0;
	struct stat st;

	if (fstat(fd, &st))
		return 0;
	if (st.st_nlink > 1) {
		*is_shared = true;
		return 0;
	}
	for (;;) {
		const struct fiemap_extent *e = NULL;

		memset(&u.map, 0, sizeof(u.map));
		u.map.fm_start = at;
		u.map.fm_length = FIEMAP_MAX_OFFSET - at;
		u.map.fm_extent_count = EXTENTS;
		if (ioctl(fd, FS_IOC_FIEMAP, &u.map) || !u.map.fm_mapped_extents)
			break;
		for (uint32_t i = 0; i < u.map.fm_mapped_extents && i < EXTENTS; i++) {
			e = &u.map.fm_extents[i];
			if (e->fe_flags & FIEMAP_EXTENT_SHARED)
				shared += e->fe_length;
		}
		if (!e || e->fe_flags & FIEMAP_EXTENT_LAST || e->fe_logical + e->fe_length <= at)
			break;
		at = e->fe_logical + e->fe_length;
	}
	if (shared)
		*is_shared = true;
	return bytes_of(&st) > shared ? bytes_of(&st) - shared : 0;
}

static uint64_t private_in(int dirfd, const char *dir, bool *is_shared)
{
	char path[PATH_ROOM];
	uint64_t sum = 0;
	struct stat st;

	if (!fstatat(dirfd, dir, &st, AT_SYMLINK_NOFOLLOW))
		sum = bytes_of(&st); /* the directory goes too */
	for (int i = 0; i < 2; i++) {
		_cleanup_fd_ int fd = -1;

		snprintf(path, sizeof(path), "%s/%s", dir, i ? "meta" : "data");
		fd = data_open(dirfd, path, O_RDONLY);
		if (fd >= 0)
			sum += private_bytes(fd, is_shared);
	}
	return sum;
}

uint64_t layout_private_bytes(struct layout *l, const char *id)
{
	char path[PATH_ROOM];
	bool shared;

	task_path(id, "", path);
	return private_in(l->tasks, path, &shared);
}

int layout_destroy(struct layout *l, const char *name, uint64_t *freed, bool *is_shared)
{
	*is_shared = false;
	*freed = private_in(l->trash, name, is_shared);
	return path_remove_tree(l->trash, name, NULL);
}

static DIR *open_dir(int dirfd, const char *name)
{
	int fd = path_open_beneath(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	DIR *d;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (!d)
		fd_close(fd);
	return d;
}

unsigned layout_empty_trash(struct layout *l, bool all)
{
	_cleanup_dir_ DIR *d = open_dir(l->trash, ".");
	unsigned n = 0;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int rc;

		if (path_is_dots(e->d_name) || (!all && e->d_name[0] == 'c'))
			continue;
		rc = path_remove_tree(l->trash, e->d_name, NULL);
		if (rc)
			LOG_LIMITED(LOG_WARNING,
				"store: cannot delete from trash/ name=%s reason=%s", e->d_name,
				strerror(-rc));
		else
			n++;
	}
	return n;
}

/* ---- the walk at start-up -------------------------------------------------------------------- */

static uint32_t count_present(int fd, const struct record *r, int *error)
{
	struct record_piece p[256];
	uint32_t present = 0;

	for (uint32_t first = 0; first < r->info.n_pieces && !*error; first += ARRAY_SIZE(p)) {
		uint32_t n = r->info.n_pieces - first;

		n = n < ARRAY_SIZE(p) ? n : ARRAY_SIZE(p);
		*error = record_read_pieces(fd, r, first, n, p);
		for (uint32_t i = 0; !*error && i < n; i++)
			present += p[i].present;
	}
	return present;
}

static void inspect(int dirfd, struct layout_entry *e, struct record *r)
{
	_cleanup_fd_ int m = -1;
	char path[STORE_ID_MAX + 16];
	struct stat st, meta_st;

	snprintf(path, sizeof(path), "%.*s/meta", STORE_ID_MAX, e->name);
	m = path_open_beneath(dirfd, path, O_RDONLY, 0);
	e->error = m < 0 ? m : record_read(m, r);
	snprintf(path, sizeof(path), "%.*s/data", STORE_ID_MAX, e->name);
	if (!e->error && (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) || fstat(m, &meta_st)))
		e->error = -errno;
	if (e->error)
		return;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != r->info.length)
		e->error = -EBADMSG;
	e->r = r;
	e->bytes = bytes_of(&st) + bytes_of(&meta_st);
	e->used_ns = (uint64_t)st.st_atim.tv_sec * SECOND + (uint64_t)st.st_atim.tv_nsec;
	if (e->is_partial) {
		uint8_t token[STORE_TOKEN_SIZE];

		if (layout_token_parse(e->name, token) ||
			memcmp(token, r->token, sizeof(token)) != 0)
			e->error = -EBADMSG;
		if (!e->error)
			e->n_present = count_present(m, r, &e->error);
	} else {
		/* renamed is committed: a record that says otherwise, or another name, is not ours */
		if (r->info.state != STORE_COMPLETE || strcmp(r->info.id, e->name) != 0)
			e->error = -EBADMSG;
		e->n_present = r->info.n_pieces;
	}
}

static bool is_in_shard(const char *id, const char *shard)
{
	char right[3];

	shard_name(id, right);
	return strcmp(shard, right) == 0;
}

static int walk_dir(int parent, const char *name, bool partial, struct record *r,
	int (*fn)(void *arg, const struct layout_entry *e), void *arg)
{
	_cleanup_dir_ DIR *d = open_dir(parent, name);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return -errno;
	while (rc >= 0 && (errno = 0, e = readdir(d))) {
		struct layout_entry le = {.is_partial = partial, .name = e->d_name};
		uint8_t token[STORE_TOKEN_SIZE];

		if (path_is_dots(e->d_name))
			continue;
		if (partial ? layout_token_parse(e->d_name, token)
			    : !proto_id_ok(e->d_name, strlen(e->d_name)))
			le.error = -EINVAL;
		else
			inspect(dirfd(d), &le, r);
		if (!partial && !le.error && !is_in_shard(e->d_name, name))
			le.error = -EBADMSG;
		rc = fn(arg, &le);
	}
	return rc < 0 ? rc : 0;
}

/* A start waits for the walk, and the walk for the kernel, entry by entry: with many entries, several
 * threads take a shard each. */
#define WALK_THREADS  4
#define WALK_MANY     2000 /* entries after which it is worth their while */
#define WALK_N_SHARDS 256

struct walk {
	struct layout *l;
	int (*fn)(void *arg, const struct layout_entry *e);
	void *arg;
	pthread_mutex_t lock; /* over fn and what follows */
	unsigned next_shard, n_entries, n_threads;
	int rc;
	pthread_t threads[WALK_THREADS];
};

static void *walk_shards(void *arg);

static int walk_entry(void *arg, const struct layout_entry *e)
{
	struct walk *w = arg;
	int rc;

	pthread_mutex_lock(&w->lock);
	rc = w->rc ? w->rc : w->fn(w->arg, e);
	if (++w->n_entries == WALK_MANY)
		while (w->n_threads < WALK_THREADS - 1 &&
			!pthread_create(&w->threads[w->n_threads], NULL, walk_shards, w))
			w->n_threads++;
	pthread_mutex_unlock(&w->lock);
	return rc;
}

static void *walk_shards(void *arg)
{
	struct walk *w = arg;
	_cleanup_free_ struct record *r = malloc(sizeof(*r));
	int rc = r ? 0 : -ENOMEM;

	while (!rc) {
		char shard[3];
		unsigned i;

		pthread_mutex_lock(&w->lock);
		i = w->next_shard < WALK_N_SHARDS && !w->rc ? w->next_shard++ : WALK_N_SHARDS;
		pthread_mutex_unlock(&w->lock);
		if (i == WALK_N_SHARDS)
			break;
		snprintf(shard, sizeof(shard), "%02x", i);
		rc = walk_dir(w->l->tasks, shard, false, r, walk_entry, w);
		if (rc == -ENOENT)
			rc = 0;
	}
	pthread_mutex_lock(&w->lock);
	if (!w->rc)
		w->rc = rc;
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int layout_walk(struct layout *l, int (*fn)(void *arg, const struct layout_entry *e), void *arg)
{
	_cleanup_free_ struct record *r = malloc(sizeof(*r));
	struct walk w = {.l = l, .fn = fn, .arg = arg, .lock = PTHREAD_MUTEX_INITIALIZER};

	if (!r)
		return -ENOMEM;
	walk_shards(&w);
	for (unsigned i = 0; i < w.n_threads; i++)
		pthread_join(w.threads[i], NULL);
	pthread_mutex_destroy(&w.lock);
	return w.rc ? w.rc : walk_dir(l->incoming, ".", true, r, fn, arg);
}

bool layout_is_there(struct layout *l, bool is_partial, const char *name)
{
	char path[PATH_ROOM];

	if (is_partial)
		return !faccessat(l->incoming, name, F_OK, AT_SYMLINK_NOFOLLOW);
	task_path(name, "", path);
	return !faccessat(l->tasks, path, F_OK, AT_SYMLINK_NOFOLLOW);
}

/* ---- the clock ------------------------------------------------------------------------------- */

uint64_t layout_read_clock(struct layout *l)
{
	_cleanup_fd_ int fd = path_open_beneath(l->pieces, "clock", O_RDONLY, 0);
	unsigned long long ns;
	char text[32] = "";

	if (fd < 0 || fd_pread_full(fd, text, sizeof(text) - 1, 0) <= 0 ||
		sscanf(text, "%20llu\n", &ns) != 1)
		return 0;
	return ns;
}

int layout_write_clock(struct layout *l, uint64_t wall_ns)
{
	_cleanup_fd_ int fd = path_open_beneath(l->pieces, "clock", O_WRONLY | O_CREAT, 0600);
	char text[32];

	if (fd < 0)
		return fd;
	/* always the same length: written over in place */
	snprintf(text, sizeof(text), "%020llu\n", (unsigned long long)wall_ns);
	return fd_pwrite_full(fd, text, strlen(text), 0);
}
