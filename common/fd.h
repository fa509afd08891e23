/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fd.h — whole reads and writes, passing descriptors, small file helpers. All blocking unless the
 * descriptor is not; all return -errno on failure and retry EINTR.
 */
#ifndef COMMON_FD_H
#define COMMON_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;

/* fd_read_full - read until @n bytes or the end; returns bytes read */
ssize_t fd_read_full(int fd, void *p, size_t n);
ssize_t fd_pread_full(int fd, void *p, size_t n, uint64_t off);
/* fd_write_full - 0 when all @n bytes were written */
int fd_write_full(int fd, const void *p, size_t n);
int fd_pwrite_full(int fd, const void *p, size_t n, uint64_t off);
/* fd_read_file - whole content of @path (AT_FDCWD rules with @dirfd) into @b, at most @max bytes,
 * else -EFBIG */
int fd_read_file(int dirfd, const char *path, size_t max, struct buf *b);
int fd_set_nonblock(int fd);

#define FD_PASS_MAX 4
/* fd_send - one message with @n_fds descriptors attached; on a SEQPACKET or stream socket.
 * Returns bytes sent. */
ssize_t fd_send(int sock, const void *p, size_t n, const int *fds, size_t n_fds, int flags);
/* fd_recv - one message and up to FD_PASS_MAX descriptors (CLOEXEC). Surplus descriptors are
 * closed and the result is -E2BIG; a message longer than @n is -EMSGSIZE (both: *n_fds 0, all
 * closed). *n_fds is set; the caller owns them. 0 = end. */
ssize_t fd_recv(int sock, void *p, size_t n, int *fds, size_t *n_fds, int flags);

/* fd_copy_sparse - copy @len bytes at @off from @in to the same offset of @out, holes stay holes
 * (SEEK_DATA), also where @out had bytes. Tries copy_file_range first. @out grows to off + len; who
 * copies ranges in parallel sizes it first. -ENODATA if @in is shorter. */
int fd_copy_sparse(int in, int out, uint64_t off, uint64_t len);
/* fd_reflink - make @out share all extents of @in; -EOPNOTSUPP/-EXDEV where it cannot */
int fd_reflink(int in, int out);
/* fd_punch_hole - punch a hole; -EOPNOTSUPP where the file system cannot */
int fd_punch_hole(int fd, uint64_t off, uint64_t len);

#endif
