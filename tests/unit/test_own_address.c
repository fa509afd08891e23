/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_own_address.c — the advertised address follows the host's network, in a network namespace of
 * our own (root; skipped with the reason where that is not possible) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "p2p/own_address.h"

#define MS 1000000ull

static char why_not[128]; /* "" = in a namespace with ip(8) */

static void ip(const char *args)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "ip %s", args);
	assert_int_equal(system(cmd), 0);
}

static int enter(void **state)
{
	log_set_level(LOG_WARNING);
	if (unshare(CLONE_NEWNET))
		snprintf(why_not, sizeof(why_not), "no network namespace: %s", strerror(errno));
	else if (system("ip link set lo up 2>/dev/null"))
		snprintf(why_not, sizeof(why_not), "no ip(8)");
	else if (system("ip link add va type veth peer name vb 2>/dev/null && "
			"ip link set va up 2>/dev/null && ip link set vb up 2>/dev/null"))
		snprintf(why_not, sizeof(why_not), "no veth devices, or an ip(8) that knows none");
	if (*why_not)
		print_message("# %s\n", why_not);
	return 0;
}

#define NAMESPACE                                                                                  \
	if (*why_not)                                                                              \
	skip()

static void found_by_the_peers_that_have_addresses(void **state)
{
	NAMESPACE;
	char own[INET6_ADDRSTRLEN];

	assert_int_equal(own_address_find(NULL, own), 0);
	assert_string_equal(own, "127.0.0.1"); /* nothing else */
	ip("addr add 10.8.0.1/24 dev va");
	ip("addr add 10.9.0.1/24 dev vb");
	ip("route add default via 10.8.0.2");
	assert_int_equal(own_address_find("", own), 0);
	assert_string_equal(own, "10.8.0.1");
	assert_int_equal(own_address_find("node7.example:4000,10.9.0.7:4000", own), 0);
	assert_string_equal(own, "10.9.0.1");
}

struct seen {
	int n, n_gone;
	char ip[INET6_ADDRSTRLEN];
};

static void on_address(void *arg, const char *own)
{
	struct seen *s = arg;

	s->n++;
	snprintf(s->ip, sizeof(s->ip), "%s", own);
}

static void on_gone(void *arg)
{
	((struct seen *)arg)->n_gone++;
}

static void run_until(struct loop *l, const int *n, int want)
{
	uint64_t deadline = loop_now(l) + 15000 * MS;

	while (*n < want) {
		assert_int_equal(loop_step(l, 100 * MS), 0);
		assert_true(loop_now(l) < deadline);
	}
}

static void followed_while_it_moves(void **state)
{
	NAMESPACE;
	struct own_address *o, *fixed;
	struct seen s = {0}, f = {0};
	struct loop *l;

	assert_int_equal(loop_new(&l, &loop_backend_epoll, 1), 0);
	assert_int_equal(
		own_address_follow(&o, l, "10.9.0.7:4000", NULL, "10.9.0.1", on_address, &s), 0);
	assert_int_equal(own_address_follow(&fixed, l, "10.9.0.7:4000", "10.8.0.1", "10.8.0.1",
				 on_address, &f),
		0);
	/* what others come and go does not matter; then the address itself is another */
	ip("addr add 10.5.0.1/24 dev va");
	ip("addr del 10.9.0.1/24 dev vb");
	ip("addr add 10.9.0.5/24 dev vb");
	run_until(l, &s.n, 1);
	assert_string_equal(s.ip, "10.9.0.5");
	/* the last one goes: the old stays until there is another */
	ip("link set va down");
	ip("link set vb down");
	ip("link set va up");
	ip("link set vb up");
	ip("addr add 10.9.0.6/24 dev vb");
	ip("addr del 10.9.0.5/24 dev vb");
	run_until(l, &s.n, 2);
	/* deleting the first address of a network takes the others along, so it may take two steps */
	while (strcmp(s.ip, "10.9.0.6") && s.n < 5) {
		ip("addr replace 10.9.0.6/24 dev vb");
		run_until(l, &s.n, s.n + 1);
	}
	assert_string_equal(s.ip, "10.9.0.6");
	assert_int_equal(f.n, 0); /* a configured one stays */
	own_address_close(o, on_gone, &s);
	own_address_close(fixed, on_gone, &f);
	run_until(l, &s.n_gone, 1);
	run_until(l, &f.n_gone, 1);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_by_the_peers_that_have_addresses),
		cmocka_unit_test(followed_while_it_moves),
	};

	return cmocka_run_group_tests(tests, enter, NULL);
}
