/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http: what is a request, and a server that strangers cannot hold up */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/http.h"
#include "common/loop.h"

static int parse(const char *text, char path[64], bool *is_head)
{
	const char *p = NULL;
	size_t n = 0;
	int r = http_parse(text, strlen(text), &p, &n, is_head);

	if (r == 200)
		snprintf(path, 64, "%.*s", (int)n, p);
	return r;
}

static void requests_are_judged(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *path;
	} cases[] = {
		{"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/metrics"},
		{"GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200, "/metrics"},
		{"GET /metrics HTTP/1.1\r\n", 0, NULL},
		{"", 0, NULL},
		{"POST /metrics HTTP/1.1\r\n\r\n", 405, NULL},
		{"GET metrics HTTP/1.1\r\n\r\n", 400, NULL},
		{"GET  HTTP/1.1\r\n\r\n", 400, NULL},
		{"GET /metrics\r\n\r\n", 400, NULL},
		{"GET /a b HTTP/1.1\r\n\r\n", 400, NULL},
		{"GET /metrics HTTP/2.0\r\n\r\n", 505, NULL},
		{"\r\n\r\n", 400, NULL},
		{" /x HTTP/1.1\r\n\r\n", 400, NULL},
	};
	char path[64];
	bool is_head;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse(cases[i].text, path, &is_head), cases[i].status);
		if (cases[i].path)
			assert_string_equal(path, cases[i].path);
	}
	assert_int_equal(parse("HEAD /x HTTP/1.1\r\n\r\n", path, &is_head), 200);
	assert_true(is_head);
	assert_int_equal(http_parse("GET /\0 HTTP/1.1\r\n\r\n", 19, NULL, NULL, &is_head), 400);
}

static int page(void *arg, const char *path, size_t path_len, struct buf *body, const char **type)
{
	if (path_len != 2 || memcmp(path, "/a", 2) != 0)
		return 404;
	/* more than a socket takes at once */
	for (int i = 0; i < 100000; i++)
		buf_adds(body, "0123456789");
	return 200;
}

struct fixture {
	struct loop *loop;
	struct http_server *server;
	struct sockaddr_in sa;
};

static void begin(struct fixture *f, const struct loop_backend *be)
{
	socklen_t len = sizeof(f->sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	f->sa = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)&f->sa, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&f->sa, &len), 0);
	assert_int_equal(loop_new(&f->loop, be, 1), 0);
	assert_int_equal(http_server_new(&f->server, f->loop, fd, page, NULL), 0);
}

static void gone(void *arg)
{
	*(bool *)arg = true;
}

static void finish(struct fixture *f)
{
	bool is_gone = false;

	http_server_close(f->server, gone, &is_gone);
	while (!is_gone)
		assert_int_equal(loop_step(f->loop, 1000000000), 0);
	loop_free(f->loop);
}

static int dial(struct fixture *f)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&f->sa, sizeof(f->sa)), 0);
	fd_set_nonblock(fd);
	return fd;
}

static void ask(int fd, const char *text)
{
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
}

/* everything until the end of the stream */
static void answer(struct fixture *f, int fd, struct buf *out)
{
	for (int i = 0; i < 10000; i++) {
		uint8_t *p = buf_reserve(out, 65536);
		ssize_t n = recv(fd, p, 65536, 0);

		if (n == 0)
			return;
		if (n > 0)
			out->len += (size_t)n;
		else
			loop_step(f->loop, 1000000);
	}
	fail_msg("no end of the answer");
}

static void a_page_is_served_whole(void **state)
{
	struct fixture f;
	_cleanup_buf_ struct buf b = {0}, h = {0}, none = {0};
	int fd;

	begin(&f, *state);
	fd = dial(&f);
	ask(fd, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	answer(&f, fd, &b);
	close(fd);
	buf_addc(&b, 0);
	assert_non_null(strstr((char *)b.data, "HTTP/1.1 200 OK\r\n"));
	assert_non_null(strstr((char *)b.data, "Content-Length: 1000000\r\n"));
	assert_true(b.len > 1000000);

	fd = dial(&f);
	ask(fd, "HEAD /a HTTP/1.1\r\n\r\n");
	answer(&f, fd, &h);
	close(fd);
	buf_addc(&h, 0);
	assert_non_null(strstr((char *)h.data, "Content-Length: 1000000\r\n"));
	assert_true(h.len < 300);

	fd = dial(&f);
	ask(fd, "GET /b HTTP/1.1\r\n\r\n");
	answer(&f, fd, &none);
	close(fd);
	buf_addc(&none, 0);
	assert_non_null(strstr((char *)none.data, "404"));
	finish(&f);
}

static void an_endless_head_is_refused(void **state)
{
	struct fixture f;
	_cleanup_buf_ struct buf b = {0};
	char long_line[HTTP_REQUEST_MAX];
	int fd;

	begin(&f, *state);
	memset(long_line, 'x', sizeof(long_line));
	memcpy(long_line, "GET /", 5);
	fd = dial(&f);
	fd_write_full(fd, long_line, sizeof(long_line));
	answer(&f, fd, &b);
	close(fd);
	buf_addc(&b, 0);
	assert_non_null(strstr((char *)b.data, "431"));
	finish(&f);
}

static void more_connections_than_fit_wait_their_turn(void **state)
{
	struct fixture f;
	int silent[HTTP_CONNECTIONS], fd;
	_cleanup_buf_ struct buf b = {0};

	begin(&f, *state);
	for (int i = 0; i < HTTP_CONNECTIONS; i++)
		silent[i] = dial(&f);
	for (int i = 0; i < 50; i++)
		loop_step(f.loop, 1000000);
	fd = dial(&f);
	ask(fd, "GET /b HTTP/1.1\r\n\r\n");
	close(silent[3]); /* one goes, the next is served */
	answer(&f, fd, &b);
	close(fd);
	buf_addc(&b, 0);
	assert_non_null(strstr((char *)b.data, "404"));
	finish(&f); /* with silent ones still there */
	for (int i = 0; i < HTTP_CONNECTIONS; i++)
		if (i != 3)
			close(silent[i]);
}

int main(void)
{
	static const struct loop_backend *epoll = &loop_backend_epoll, *ring = &loop_backend_uring;
	struct loop *probe;
	bool has_ring = loop_new(&probe, ring, 1) == 0;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_judged),
		cmocka_unit_test_prestate(a_page_is_served_whole, (void *)epoll),
		cmocka_unit_test_prestate(an_endless_head_is_refused, (void *)epoll),
		cmocka_unit_test_prestate(more_connections_than_fit_wait_their_turn, (void *)epoll),
		cmocka_unit_test_prestate(
			a_page_is_served_whole, (void *)(has_ring ? ring : epoll)),
		cmocka_unit_test_prestate(more_connections_than_fit_wait_their_turn,
			(void *)(has_ring ? ring : epoll)),
	};

	if (has_ring)
		loop_free(probe);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
