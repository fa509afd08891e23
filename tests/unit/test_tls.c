/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_tls.c — who is let in and who is not, and what is said about it; over socket pairs, without a loop.
 * gRPC and Vortex over TLS are in test_rpc and test_vortex. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/tls.h"
#include "tests/lib/certs.h"

#define DAY 86400

static char *dir;

static int setup(void **state)
{
	dir = certs_dir();
	return 0;
}

static int teardown(void **state)
{
	certs_remove(dir);
	return 0;
}

/* a connection, both ends */
struct pair {
	int fd[2];
	struct tls *server, *client;
	ssize_t result[2]; /* of the last read: -EAGAIN while nothing is decided */
};

static void pair_open(struct pair *p, struct tls_context *s, struct tls_context *c,
	const char *alpn_s, const char *alpn_c, const char *name)
{
	int size = 4096;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fd), 0);
	/* little room, so that writes stop in the middle */
	setsockopt(p->fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(p->fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	p->server = s ? tls_accept(s, p->fd[0], alpn_s) : NULL;
	p->client = c ? tls_connect(c, p->fd[1], alpn_c, name) : NULL;
}

static void pair_close(struct pair *p)
{
	tls_free(p->client);
	tls_free(p->server);
	fd_close(p->fd[0]);
	fd_close(p->fd[1]);
}

/* shake - turns for both until both are open or one has failed */
static void shake(struct pair *p)
{
	char byte;

	p->result[0] = p->result[1] = -EAGAIN;
	for (int i = 0; i < 200 && p->result[0] == -EAGAIN && p->result[1] == -EAGAIN; i++) {
		p->result[1] = tls_read(p->client, &byte, 1);
		p->result[0] = tls_read(p->server, &byte, 1);
		if (tls_is_open(p->server) && tls_is_open(p->client) && i > 20)
			return;
	}
	if (p->result[1] == -EAGAIN)
		p->result[1] = tls_read(p->client, &byte, 1);
}

static void bytes_go_both_ways(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a"), *b = certs_context(dir, "ca", "b");
	enum { N = 3000000 };
	uint8_t *in = malloc(N), *out = malloc(N);
	struct pair p;

	for (size_t i = 0; i < N; i++)
		out[i] = (uint8_t)(i * 31 + (i >> 12));
	pair_open(&p, a, b, "h2", "h2", "127.0.0.1");
	for (int way = 0; way < 2; way++) {
		struct tls *from = way ? p.server : p.client, *to = way ? p.client : p.server;
		size_t sent = 0, got = 0;
		ssize_t r;

		memset(in, 0, N);
		while (got < N) {
			/* in odd portions; what was taken may be overwritten at once */
			uint8_t part[5000];
			size_t n = N - sent < sizeof(part) ? N - sent : 1 + sent % sizeof(part);

			n = n < N - sent ? n : N - sent;
			memcpy(part, out + sent, n);
			r = n ? tls_write(from, part, n) : tls_flush(from);
			assert_true(r >= 0 || r == -EAGAIN);
			memset(part, 0, sizeof(part));
			sent += n && r > 0 ? (size_t)r : 0;
			r = tls_read(to, in + got, N - got < 70000 ? N - got : 70000);
			assert_true(r > 0 || r == -EAGAIN);
			got += r > 0 ? (size_t)r : 0;
		}
		assert_memory_equal(in, out, N);
	}
	assert_string_equal(tls_peer(p.server), "CN=b");
	assert_string_equal(tls_peer(p.client), "CN=a");
	p.client = tls_free(p.client);
	assert_int_equal(tls_read(p.server, in, 1), 0); /* the goodbye */
	pair_close(&p);
	tls_context_unref(a);
	tls_context_unref(b);
	free(in);
	free(out);
}

/* refused - a handshake of these fails, and both ends know why */
static void refused(struct tls_context *s, struct tls_context *c, const char *alpn_s,
	const char *alpn_c, const char *name, const char *at_server, const char *at_client)
{
	struct pair p;

	pair_open(&p, s, c, alpn_s, alpn_c, name);
	shake(&p);
	if (!strstr(tls_reason(p.server), at_server) || !strstr(tls_reason(p.client), at_client))
		fail_msg("server: \"%s\", client: \"%s\"", tls_reason(p.server),
			tls_reason(p.client));
	assert_false(tls_is_open(p.server));
	assert_string_equal(tls_peer(p.server), "");
	pair_close(&p);
}

static void strangers_are_refused_with_a_reason(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a"), *b = certs_context(dir, "ca", "b"),
			   *x;

	refused(a, b, "h2", "h2", "other.test", "refuses TLS with us",
		"is not for the name other.test");
	refused(a, b, "h2", "h2", "10.0.0.1", "refuses TLS with us",
		"is not for the name 10.0.0.1");
	refused(a, b, "h2", "vortex", "127.0.0.1", "does not speak h2",
		"does not speak this protocol");
	certs_ca(dir, "ca2");
	certs_issue(dir, "ca2", "x", "IP:127.0.0.1", "", -60, DAY);
	x = certs_context(dir, "ca2", "x");
	refused(x, b, "h2", "h2", "127.0.0.1", "not from its CA", "is not from the CA in ca_cert");
	refused(a, x, "h2", "h2", "127.0.0.1", "refuses TLS with us",
		"is not from the CA in ca_cert");
	x = tls_context_unref(x);
	certs_issue(dir, "ca", "s", "IP:127.0.0.1", "serverAuth", -60, DAY);
	x = certs_context(dir, "ca", "s");
	refused(a, x, "h2", "h2", "127.0.0.1", "extended key usage",
		"does not accept our certificate");
	x = tls_context_unref(x);
	tls_context_unref(a);
	tls_context_unref(b);
}

static void a_name_is_as_good_as_an_address(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a"), *b = certs_context(dir, "ca", "b");
	struct pair p;

	pair_open(&p, a, b, "h2", "h2", "a.test");
	shake(&p);
	assert_true(tls_is_open(p.server) && tls_is_open(p.client));
	pair_close(&p);
	tls_context_unref(a);
	tls_context_unref(b);
}

static void plaintext_is_refused(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a");
	struct pair p;
	char bytes[100] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

	pair_open(&p, a, NULL, "h2", "h2", "");
	assert_int_equal(write(p.fd[1], bytes, strlen(bytes)), strlen(bytes));
	assert_int_equal(tls_read(p.server, bytes, 1), -EPROTO);
	assert_non_null(strstr(tls_reason(p.server), "plaintext"));
	assert_int_equal(tls_read(p.server, bytes, 1), -EPROTO); /* and it stays so */
	assert_int_equal(tls_write(p.server, bytes, 1), -EPROTO);
	pair_close(&p);
	pair_open(&p, a, a, "h2", "h2", "127.0.0.1");
	p.server = tls_free(p.server); /* a server that speaks plaintext */
	assert_int_equal(tls_write(p.client, "x", 1), 1);
	assert_int_equal(write(p.fd[0], bytes, 30), 30);
	assert_int_equal(tls_read(p.client, bytes, 1), -EPROTO);
	assert_non_null(strstr(tls_reason(p.client), "plaintext"));
	pair_close(&p);
	tls_context_unref(a);
}

static void unfinished_handshakes_are_bounded(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a"), *b = certs_context(dir, "ca", "b");
	enum { N = 3 * TLS_HANDSHAKES_MAX };
	struct pair silent[N], p;
	int n_out = 0;
	char byte;

	for (int i = 0; i < N; i++)
		pair_open(&silent[i], a, NULL, "h2", "", "");
	for (int i = 0; i < N; i++)
		n_out += tls_read(silent[i].server, &byte, 1) != -EAGAIN;
	assert_int_equal(n_out, N - TLS_HANDSHAKES_MAX);
	assert_int_equal(tls_read(silent[0].server, &byte, 1), -ECONNRESET); /* the oldest went */
	pair_open(&p, a, b, "h2", "h2", "127.0.0.1");
	shake(&p);
	assert_true(tls_is_open(p.server) && tls_is_open(p.client));
	pair_close(&p);
	for (int i = 0; i < N; i++)
		pair_close(&silent[i]);
	tls_context_unref(a);
	tls_context_unref(b);
}

static void expect_bad(const char *ca, const char *cert, const char *key, const char *what)
{
	char c[200], p[200], k[200], reason[TLS_REASON] = "";
	struct tls_files f = {.ca = c, .cert = p, .key = k};
	struct tls_context *out;

	snprintf(c, sizeof(c), "%s/%s", dir, ca);
	snprintf(p, sizeof(p), "%s/%s", dir, cert);
	snprintf(k, sizeof(k), "%s/%s", dir, key);
	assert_true(tls_context_new(&out, &f, reason) < 0);
	if (!strstr(reason, what))
		fail_msg("\"%s\" does not say \"%s\"", reason, what);
}

static void set_mode(const char *name, mode_t mode)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(chmod(path, mode), 0);
}

static void bad_files_are_told_apart(void **state)
{
	expect_bad("none.pem", "a.pem", "a.key", "none.pem: No such file");
	expect_bad("a.key", "a.pem", "a.key", "the CA");
	expect_bad("ca.pem", "a.key", "a.key", "the certificate");
	expect_bad("ca.pem", "a.pem", "a.pem", "not a PEM private key");
	expect_bad("ca.pem", "a.pem", "b.key", "does not belong to the certificate");
	set_mode("a.key", 0644);
	expect_bad("ca.pem", "a.pem", "a.key", "mode 0644");
	set_mode("a.key", 0660);
	expect_bad("ca.pem", "a.pem", "a.key", "mode 0660");
	set_mode("a.key", 0640);
	tls_context_unref(certs_context(dir, "ca", "a"));
	set_mode("a.key", 0600);
	certs_issue(dir, "ca", "old", "IP:127.0.0.1", "", -2 * DAY, -DAY);
	expect_bad("ca.pem", "old.pem", "old.key", "has expired on 2");
	certs_issue(dir, "ca", "young", "IP:127.0.0.1", "", DAY, 2 * DAY);
	expect_bad("ca.pem", "young.pem", "young.key", "is valid from");
	certs_ca(dir, "ca3");
	expect_bad("ca3.pem", "a.pem", "a.key", "is not from the CA");
}

static void renewed_files_are_taken(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a"), *b = certs_context(dir, "ca", "b");
	char reason[TLS_REASON];
	int64_t before = tls_context_expires(a);
	struct pair old, p;
	char byte;

	pair_open(&old, a, b, "h2", "h2", "127.0.0.1");
	shake(&old);
	assert_false(tls_context_has_changed(a));
	certs_issue(dir, "ca", "a", "IP:127.0.0.1,DNS:renewed.test", "", -60, 2 * DAY);
	assert_true(tls_context_has_changed(a));
	assert_int_equal(tls_context_reload(a, reason), 0);
	assert_false(tls_context_has_changed(a));
	assert_true(tls_context_expires(a) > before);
	pair_open(&p, a, b, "h2", "h2", "renewed.test");
	shake(&p);
	assert_true(tls_is_open(p.client));
	pair_close(&p);
	/* the one that was open goes on */
	assert_int_equal(tls_write(old.client, "x", 1), 1);
	assert_int_equal(tls_read(old.server, &byte, 1), 1);
	pair_close(&old);
	/* what is wrong is not taken */
	certs_issue(dir, "ca", "a", "IP:127.0.0.1", "", -2 * DAY, -DAY);
	assert_true(tls_context_reload(a, reason) < 0);
	assert_non_null(strstr(reason, "expired"));
	pair_open(&p, a, b, "h2", "h2", "renewed.test");
	shake(&p);
	assert_true(tls_is_open(p.client));
	pair_close(&p);
	tls_context_unref(a);
	tls_context_unref(b);
}

static void garbage_ends_a_handshake(void **state)
{
	struct tls_context *a = certs_context(dir, "ca", "a");
	uint32_t x = 2463534242;

	for (int i = 0; i < 300; i++) {
		uint8_t bytes[600];
		struct pair p;

		for (size_t k = 0; k < sizeof(bytes); k++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			bytes[k] = (uint8_t)x;
		}
		if (i % 2) { /* a record that looks like a ClientHello */
			memcpy(bytes, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
		}
		pair_open(&p, a, NULL, "h2", "", "");
		assert_int_equal(write(p.fd[1], bytes, sizeof(bytes)), sizeof(bytes));
		shutdown(p.fd[1], SHUT_WR);
		assert_true(tls_read(p.server, bytes, 1) < 0);
		assert_false(tls_is_open(p.server));
		pair_close(&p);
	}
	tls_context_unref(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bytes_go_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(
			strangers_are_refused_with_a_reason, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_is_as_good_as_an_address, setup, teardown),
		cmocka_unit_test_setup_teardown(plaintext_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(unfinished_handshakes_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_files_are_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(renewed_files_are_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage_ends_a_handshake, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
