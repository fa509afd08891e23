/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fd.c — see fd.h */
#include "common/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"

#define COPY_CHUNK ((size_t)256 << 10)

ssize_t fd_read_full(int fd, void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, (char *)p + done, n - done);

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!r)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t fd_pread_full(int fd, void *p, size_t n, uint64_t off)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(fd, (char *)p + done, n - done, (off_t)(off + done));

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!r)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

int fd_write_full(int fd, const void *p, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, (const char *)p + done, n - done);

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		done += (size_t)r;
	}
	return 0;
}

int fd_pwrite_full(int fd, const void *p, size_t n, uint64_t off)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pwrite(fd, (const char *)p + done, n - done, (off_t)(off + done));

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		done += (size_t)r;
	}
	return 0;
}

int fd_read_file(int dirfd, const char *path, size_t max, struct buf *b)
{
	_cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t total = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		/* one byte more than allowed tells "exactly max" from "too large" */
		size_t want = max - total < 4096 ? max - total + 1 : 4096;
		uint8_t *p = buf_reserve(b, want);
		ssize_t r;

		if (!p)
			return -ENOMEM;
		r = read(fd, p, want);
		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!r)
			return 0;
		if ((size_t)r > max - total)
			return -EFBIG;
		total += (size_t)r;
		b->len += (size_t)r;
		b->data[b->len] = 0;
	}
}

int fd_set_nonblock(int fd)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0)
		return -errno;
	if (!(fl & O_NONBLOCK) && fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

ssize_t fd_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds, int flags)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX)];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)p, .iov_len = n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t r;

	if (n_fds > FD_PASS_MAX)
		return -EINVAL;
	if (n_fds) {
		struct cmsghdr *c;

		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		r = sendmsg(sock, &m, flags | MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

ssize_t fd_recv(int sock, void *p, size_t n, int *fds, size_t *n_fds, int flags)
{
	/* room for credentials too, which the kernel adds when SO_PASSCRED is set */
	union {
		char buf[CMSG_SPACE(sizeof(int) * FD_PASS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {.iov_base = p, .iov_len = n};
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.buf,
		.msg_controllen = sizeof(ctl.buf),
	};
	bool is_surplus = false;
	ssize_t r;

	*n_fds = 0;
	do
		r = recvmsg(sock, &m, flags | MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*n_fds < FD_PASS_MAX) {
				fds[(*n_fds)++] = fd;
			} else {
				fd_close(fd);
				is_surplus = true;
			}
		}
	}
	if (m.msg_flags & MSG_CTRUNC)
		is_surplus = true; /* the kernel dropped those that did not fit */
	if (is_surplus || (m.msg_flags & MSG_TRUNC)) {
		while (*n_fds)
			fd_close(fds[--*n_fds]);
		return is_surplus ? -E2BIG : -EMSGSIZE;
	}
	return r;
}

/* copies_by_itself - does the file system of @fd share extents, or have its server copy? Elsewhere
 * copy_file_range() goes page by page through a pipe and is slower than read and write. */
static bool copies_by_itself(int fd)
{
	static const uint32_t magic[] = {NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
		CEPH_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, OCFS2_SUPER_MAGIC};
	struct statfs s;

	if (fstatfs(fd, &s) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(magic); i++)
		if ((uint32_t)s.f_type == magic[i])
			return true;
	return false;
}

/* copy_range - plain bytes; *use_cfr is cleared when the kernel cannot copy between these two */
static int copy_range(int in, int out, uint64_t off, uint64_t len, bool *use_cfr)
{
	_cleanup_free_ char *buf = NULL;

	while (len && *use_cfr) {
		off64_t from = (off64_t)off, to = (off64_t)off;
		ssize_t r = copy_file_range(
			in, &from, out, &to, len < (1u << 30) ? (size_t)len : 1u << 30, 0);

		if (r > 0) {
			off += (uint64_t)r;
			len -= (uint64_t)r;
			continue;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG))
			return -errno;
		/* other errors, and 0 (some kernels answer it for special files): read and write
		 * will tell the truth */
		*use_cfr = false;
	}
	if (!len)
		return 0;
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return -ENOMEM;
	while (len) {
		size_t want = len < COPY_CHUNK ? (size_t)len : COPY_CHUNK;
		ssize_t r = fd_pread_full(in, buf, want, off);
		int e;

		if (r < 0)
			return (int)r;
		if ((size_t)r < want)
			return -ENODATA;
		e = fd_pwrite_full(out, buf, want, off);
		if (e)
			return e;
		off += want;
		len -= want;
	}
	return 0;
}

/* make_hole - @out reads as zeros at [off, off + len); beyond its end nothing needs doing */
static int make_hole(int out, uint64_t off, uint64_t len)
{
	static const char zeros[4096];
	struct stat st;
	uint64_t end;
	int r;

	if (fstat(out, &st) < 0)
		return -errno;
	if (off >= (uint64_t)st.st_size)
		return 0;
	end = off + len < (uint64_t)st.st_size ? off + len : (uint64_t)st.st_size;
	r = fd_punch_hole(out, off, end - off);
	if (r != -EOPNOTSUPP)
		return r;
	while (off < end) {
		size_t n = end - off < sizeof(zeros) ? (size_t)(end - off) : sizeof(zeros);

		r = fd_pwrite_full(out, zeros, n, off);
		if (r)
			return r;
		off += n;
	}
	return 0;
}

int fd_copy_sparse(int in, int out, uint64_t off, uint64_t len)
{
	bool use_cfr = copies_by_itself(out);
	struct stat st;
	uint64_t end, at = off;

	if (__builtin_add_overflow(off, len, &end) || end > INT64_MAX)
		return -EINVAL;
	if (fstat(in, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)
		return -ENODATA;
	while (at < end) {
		off_t data = lseek(in, (off_t)at, SEEK_DATA), hole;
		int r;

		if (data < 0) {
			if (errno ==
				ENXIO) { /* only a hole is left, or it was truncated meanwhile */
				if (fstat(in, &st) < 0)
					return -errno;
				if ((uint64_t)st.st_size < end)
					return -ENODATA;
				data = (off_t)end;
			} else {
				data = (off_t)at; /* no SEEK_DATA here: all of it is data */
			}
		}
		if ((uint64_t)data > at) {
			uint64_t stop = (uint64_t)data < end ? (uint64_t)data : end;

			r = make_hole(out, at, stop - at);
			if (r)
				return r;
			at = stop;
			continue;
		}
		hole = lseek(in, (off_t)at, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole <= at || (uint64_t)hole > end)
			hole = (off_t)end;
		r = copy_range(in, out, at, (uint64_t)hole - at, &use_cfr);
		if (r)
			return r;
		at = (uint64_t)hole;
	}
	/* a hole at the end leaves the file too short */
	if (fstat(out, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < end && ftruncate(out, (off_t)end) < 0)
		return -errno;
	return 0;
}

int fd_reflink(int in, int out)
{
	if (ioctl(out, FICLONE, in) == 0)
		return 0;
	if (errno == ENOTTY || errno == EINVAL || errno == ENOSYS)
		return -EOPNOTSUPP;
	return -errno;
}

int fd_punch_hole(int fd, uint64_t off, uint64_t len)
{
	int r;

	if (!len)
		return 0;
	do
		r = fallocate(
			fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno == ENOSYS ? -EOPNOTSUPP : -errno;
	return 0;
}
