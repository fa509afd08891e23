/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_fd.c — real files, pipes and sockets */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"

static int temp_file(void)
{
	char name[] = "/tmp/test_fd.XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(name);
	return fd;
}

static size_t n_open(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void *write_in_bits(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 1000; i++)
		assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	return NULL;
}

static void reads_until_the_end(void **state)
{
	char data[10001];
	pthread_t t;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&t, NULL, write_in_bits, &p[1]), 0);
	assert_int_equal(fd_read_full(p[0], data, 9995), 9995);
	assert_memory_equal(data + 9985, "5678901234", 10);
	assert_int_equal(fd_read_full(p[0], data, sizeof(data)), 5);
	pthread_join(t, NULL);
	close(p[0]);
	assert_int_equal(fd_read_full(-1, data, 1), -EBADF);
}

static void reads_and_writes_at_offsets(void **state)
{
	_cleanup_fd_ int fd = temp_file();
	char data[16];

	assert_int_equal(fd_write_full(fd, "hello", 5), 0);
	assert_int_equal(fd_pwrite_full(fd, "J", 1, 0), 0);
	assert_int_equal(fd_pread_full(fd, data, sizeof(data), 0), 5);
	assert_memory_equal(data, "Jello", 5);
	assert_int_equal(fd_pread_full(fd, data, sizeof(data), 5), 0);
	assert_int_equal(fd_pwrite_full(-1, "x", 1, 0), -EBADF);
	/* a full device is an error, not a short write */
	{
		_cleanup_fd_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

		assert_int_equal(fd_write_full(full, "x", 1), -ENOSPC);
	}
}

static void reads_small_files_whole(void **state)
{
	char name[] = "/tmp/test_fd.XXXXXX", big[10000];
	_cleanup_fd_ int fd = mkostemp(name, O_CLOEXEC);
	_cleanup_buf_ struct buf b = {0};

	assert_true(fd >= 0);
	memset(big, 'z', sizeof(big));
	assert_int_equal(fd_write_full(fd, big, sizeof(big)), 0);
	assert_int_equal(fd_read_file(AT_FDCWD, name, sizeof(big), &b), 0);
	assert_int_equal(b.len, sizeof(big));
	assert_memory_equal(b.data, big, sizeof(big));
	buf_fini(&b);
	assert_int_equal(fd_read_file(AT_FDCWD, name, sizeof(big) - 1, &b), -EFBIG);
	buf_fini(&b);
	assert_int_equal(fd_read_file(AT_FDCWD, "/proc/self/status", 1 << 20, &b), 0);
	assert_non_null(strstr(buf_str(&b), "Pid:"));
	unlink(name);
	assert_int_equal(fd_read_file(AT_FDCWD, name, 10, &b), -ENOENT);
}

static void passes_descriptors(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	size_t before = n_open();

	for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
		int s[2], fds[FD_PASS_MAX], got[FD_PASS_MAX];
		char text[16];
		size_t n;

		assert_int_equal(socketpair(AF_UNIX, types[t] | SOCK_CLOEXEC, 0, s), 0);
		for (int i = 0; i < FD_PASS_MAX; i++) {
			fds[i] = temp_file();
			assert_int_equal(write(fds[i], &(char){(char)('a' + i)}, 1), 1);
		}
		assert_int_equal(fd_send(s[0], "hi", 2, fds, FD_PASS_MAX, 0), 2);
		assert_int_equal(fd_recv(s[1], text, sizeof(text), got, &n, 0), 2);
		assert_int_equal(n, FD_PASS_MAX);
		for (int i = 0; i < FD_PASS_MAX; i++) {
			assert_int_equal(pread(got[i], text, 1, 0), 1);
			assert_int_equal(text[0], 'a' + i);
			assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
			close(got[i]);
			close(fds[i]);
		}
		/* none */
		assert_int_equal(fd_send(s[0], "x", 1, NULL, 0, 0), 1);
		assert_int_equal(fd_recv(s[1], text, sizeof(text), got, &n, 0), 1);
		assert_int_equal(n, 0);
		assert_int_equal(fd_send(s[0], "x", 1, fds, FD_PASS_MAX + 1, 0), -EINVAL);
		assert_int_equal(fd_recv(s[1], text, sizeof(text), got, &n, MSG_DONTWAIT), -EAGAIN);
		close(s[0]);
		assert_int_equal(fd_recv(s[1], text, sizeof(text), got, &n, 0), 0);
		close(s[1]);
	}
	assert_int_equal(n_open(), before);
}

/* send_many - what fd_send() would not: @n copies of descriptor 0 */
static void send_many(int s, size_t n)
{
	char ctl[CMSG_SPACE(sizeof(int) * 200)] = {0};
	struct iovec iov = {.iov_base = (char[]){"x"}, .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl};
	struct cmsghdr *c;
	int fd = s;

	m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	for (size_t i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	assert_int_equal(sendmsg(s, &m, 0), 1);
}

static void surplus_descriptors_are_closed(void **state)
{
	int s[2], got[FD_PASS_MAX];
	size_t before, n = 99;
	char text[16];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)), 0);
	before = n_open();
	for (size_t many = FD_PASS_MAX + 1; many < 200; many += 38) {
		send_many(s[0], many);
		assert_int_equal(fd_recv(s[1], text, sizeof(text), got, &n, 0), -E2BIG);
		assert_int_equal(n, 0);
		assert_int_equal(n_open(), before);
	}
	/* a message longer than the buffer is no message */
	assert_int_equal(fd_send(s[0], "0123456789", 10, s, 1, 0), 10);
	assert_int_equal(fd_recv(s[1], text, 4, got, &n, 0), -EMSGSIZE);
	assert_int_equal(n_open(), before);
	/* and the socket goes on working */
	assert_int_equal(fd_send(s[0], "ok", 2, NULL, 0, 0), 2);
	assert_int_equal(fd_recv(s[1], text, sizeof(text), got, &n, 0), 2);
	close(s[0]);
	/* writing to one who left is an error, not a signal */
	assert_int_equal(fd_send(s[1], "x", 1, NULL, 0, 0), -EPIPE);
	close(s[1]);
}

static void compare(int a, int b, uint64_t size)
{
	static char x[1 << 16], y[1 << 16];

	for (uint64_t at = 0; at < size; at += sizeof(x)) {
		ssize_t n = fd_pread_full(a, x, sizeof(x), at);

		assert_int_equal(fd_pread_full(b, y, sizeof(y), at), n);
		assert_memory_equal(x, y, (size_t)n);
	}
}

static uint64_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_size;
}

static void copies_keep_holes(void **state)
{
	enum { MIB = 1 << 20 };
	_cleanup_fd_ int in = temp_file(), out = temp_file(), dirty = temp_file();
	static char block[MIB];

	memset(block, 'd', sizeof(block));
	/* data, hole, data, hole at the end */
	assert_int_equal(fd_pwrite_full(in, block, sizeof(block), 0), 0);
	assert_int_equal(fd_pwrite_full(in, block, sizeof(block), 40 * MIB), 0);
	assert_int_equal(ftruncate(in, 64 * MIB + 1), 0);

	assert_int_equal(fd_copy_sparse(in, out, 0, 64 * MIB + 1), 0);
	assert_int_equal(size_of(out), 64 * MIB + 1);
	compare(in, out, 64 * MIB + 1);
	if (allocated(in) < 8 * MIB) /* the file system here keeps holes */
		assert_true(allocated(out) < 8 * MIB);

	/* a target that had bytes where the source has a hole; only the range asked for changes */
	for (int i = 0; i < 4; i++)
		assert_int_equal(fd_pwrite_full(dirty, block, sizeof(block), (uint64_t)i * MIB), 0);
	assert_int_equal(fd_copy_sparse(in, dirty, MIB + 10, 2 * MIB), 0);
	assert_int_equal(size_of(dirty), 4 * MIB);
	{
		_cleanup_free_ char *got = malloc(4 * MIB);

		assert_int_equal(fd_pread_full(dirty, got, 4 * MIB, 0), 4 * MIB);
		for (size_t i = 0; i < 4 * MIB; i++)
			if (got[i] != (i >= MIB + 10 && i < 3 * MIB + 10 ? 0 : 'd'))
				fail_msg("byte %zu is %d", i, got[i]);
	}
	/* shorter than promised; absurd ranges; nothing at all */
	assert_int_equal(fd_copy_sparse(in, out, 0, 64 * MIB + 2), -ENODATA);
	assert_int_equal(fd_copy_sparse(in, out, UINT64_MAX, 2), -EINVAL);
	assert_int_equal(fd_copy_sparse(in, out, 5, 0), 0);
}

/* between file systems, where copy_file_range may refuse */
static void copies_across_file_systems(void **state)
{
	_cleanup_fd_ int in = memfd_create("in", MFD_CLOEXEC), out = temp_file();
	static char block[300001];

	assert_true(in >= 0);
	memset(block, 'm', sizeof(block));
	assert_int_equal(fd_pwrite_full(in, block, sizeof(block), 4096), 0);
	assert_int_equal(fd_copy_sparse(in, out, 0, sizeof(block) + 4096), 0);
	compare(in, out, sizeof(block) + 4096);
}

static void reflink_or_says_no(void **state)
{
	_cleanup_fd_ int in = temp_file(), out = temp_file(), mem = memfd_create("m", MFD_CLOEXEC);
	int r;

	assert_int_equal(fd_write_full(in, "shared", 6), 0);
	r = fd_reflink(in, out);
	if (r == 0)
		compare(in, out, 6);
	else
		assert_int_equal(r, -EOPNOTSUPP);
	r = fd_reflink(mem, out);
	assert_true(r == -EXDEV || r == -EOPNOTSUPP);
}

static void punches(void **state)
{
	_cleanup_fd_ int fd = temp_file();
	char block[8192];
	int p[2], r;

	memset(block, 'p', sizeof(block));
	assert_int_equal(fd_write_full(fd, block, sizeof(block)), 0);
	r = fd_punch_hole(fd, 0, 4096);
	if (r != -EOPNOTSUPP) {
		assert_int_equal(r, 0);
		assert_int_equal(fd_pread_full(fd, block, sizeof(block), 0), sizeof(block));
		assert_int_equal(block[4095], 0);
		assert_int_equal(block[4096], 'p');
	}
	assert_int_equal(fd_punch_hole(fd, 0, 0), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_true(fd_punch_hole(p[1], 0, 1) < 0);
	assert_int_equal(fd_set_nonblock(p[0]), 0);
	assert_int_equal(fd_read_full(p[0], block, 1), -EAGAIN);
	close(p[0]);
	close(p[1]);
	assert_int_equal(fd_set_nonblock(-1), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_until_the_end),
		cmocka_unit_test(reads_and_writes_at_offsets),
		cmocka_unit_test(reads_small_files_whole),
		cmocka_unit_test(passes_descriptors),
		cmocka_unit_test(surplus_descriptors_are_closed),
		cmocka_unit_test(copies_keep_holes),
		cmocka_unit_test(copies_across_file_systems),
		cmocka_unit_test(reflink_or_says_no),
		cmocka_unit_test(punches),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
