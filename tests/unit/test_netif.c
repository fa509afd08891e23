/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_netif.c — addresses and changes, in a network namespace of our own (root; skipped with the
 * reason where that is not possible) */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/netif.h"

#define MS 1000000ull

static char why_not[128]; /* "" = in a namespace with ip(8) */

/* ip - run ip(8) with @args; the test has failed when that does not work */
static void ip(const char *args)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "ip %s", args);
	assert_int_equal(system(cmd), 0);
}

static int enter(void **state)
{
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

static void check_address(struct netif *n, const char *toward, const char *want)
{
	struct sockaddr_storage to = {0}, got;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&to;
	char text[INET6_ADDRSTRLEN];

	if (toward && inet_pton(AF_INET, toward, &v4->sin_addr) == 1)
		to.ss_family = AF_INET;
	else if (toward && inet_pton(AF_INET6, toward, &v6->sin6_addr) == 1)
		to.ss_family = AF_INET6;
	assert_int_equal(netif_address(n, toward ? (struct sockaddr *)&to : NULL, &got), 0);
	assert_non_null(inet_ntop(got.ss_family,
		got.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&got)->sin_addr
					 : (void *)&((struct sockaddr_in6 *)&got)->sin6_addr,
		text, sizeof(text)));
	assert_string_equal(text, want);
}

static void nothing_but_the_loopback(void **state)
{
	NAMESPACE;
	struct sockaddr_storage sa;
	struct netif *n;

	assert_int_equal(netif_new(&n), 0);
	assert_int_equal(netif_address(n, NULL, &sa), -EADDRNOTAVAIL);
	netif_free(n);
}

static void the_address_is_chosen_by_route(void **state)
{
	NAMESPACE;
	struct netif *n;

	assert_int_equal(netif_new(&n), 0);
	ip("-6 addr add 2001:db8:5::1/64 dev vb nodad");
	check_address(n, NULL, "2001:db8:5::1"); /* better than none */
	ip("addr add 10.8.0.1/24 dev va");
	ip("addr add 10.9.0.1/24 dev vb");
	/* no default route: the first interface (a veth's peer is made first), IPv4 before IPv6 */
	check_address(n, NULL, "10.9.0.1");
	check_address(n, "10.8.0.7", "10.8.0.1"); /* the neighbour's network */
	check_address(n, "2001:db8:5::7", "2001:db8:5::1");
	ip("route add 10.7.0.0/16 via 10.9.0.2");
	check_address(n, "10.7.3.4", "10.9.0.1");
	ip("route add 10.6.0.0/16 via 10.9.0.2 src 10.8.0.1");
	check_address(n, "10.6.3.4", "10.8.0.1"); /* the administrator's word */
	ip("route add default via 10.8.0.2");
	check_address(n, NULL, "10.8.0.1");
	check_address(n, "198.51.100.1", "10.8.0.1");
	/* a peer on this very host says nothing about how others reach us */
	check_address(n, "127.0.0.1", "10.8.0.1");
	check_address(n, "10.9.0.1", "10.8.0.1");
	ip("link set vb down"); /* its addresses are of no use now */
	check_address(n, "10.9.0.7", "10.8.0.1");
	ip("link set vb up");
	netif_free(n);
}

static void the_interface_of_an_address(void **state)
{
	NAMESPACE;
	struct sockaddr_in sa = {.sin_family = AF_INET};
	struct netif_load load;
	struct netif *n;
	int index;

	assert_int_equal(netif_new(&n), 0);
	inet_pton(AF_INET, "10.9.0.1", &sa.sin_addr);
	index = netif_index_of(n, (struct sockaddr *)&sa);
	assert_true(index > 0);
	assert_int_equal(netif_read(n, index, &load), 0);
	assert_string_equal(load.name, "vb");
	assert_int_equal(load.speed, 10000000000ull); /* what veth says of itself */
	inet_pton(AF_INET, "10.9.0.99", &sa.sin_addr);
	assert_int_equal(netif_index_of(n, (struct sockaddr *)&sa), -ENODEV);
	assert_int_equal(netif_read(n, 9999, &load), -ENODEV);
	netif_free(n);
}

static void count(void *arg)
{
	(*(int *)arg)++;
}

static void expect_change(struct loop *l, int *n, const char *change)
{
	uint64_t end = loop_now(l) + 10000 * MS;

	while (loop_step(l, 20 * MS) == 0 && *n) /* quiet first: links settle for a moment */
		*n = 0;
	ip(change);
	while (!*n) {
		assert_int_equal(loop_step(l, 100 * MS), 0);
		assert_true(loop_now(l) < end);
	}
}

static void changes_are_told(void **state)
{
	NAMESPACE;
	const struct loop_backend *const backends[] = {&loop_backend_epoll, &loop_backend_uring};

	for (int i = 0; i < 2; i++) {
		struct netif_watch *w;
		struct loop *l;
		int n = 0, n_gone = 0;

		if (loop_new(&l, backends[i], 1)) {
			assert_int_equal(i, 1); /* only the ring may be forbidden */
			continue;
		}
		assert_int_equal(netif_watch_new(&w, l, count, &n), 0);
		assert_int_equal(loop_step(l, 10 * MS), 0);
		assert_int_equal(n, 0);
		expect_change(l, &n, "addr add 10.5.0.1/24 dev va");
		expect_change(l, &n, "addr del 10.5.0.1/24 dev va");
		expect_change(l, &n, "link set va down");
		expect_change(l, &n, "link set va up");
		expect_change(l, &n, "route add 10.4.0.0/16 dev vb");
		expect_change(l, &n, "route del 10.4.0.0/16 dev vb");
		netif_watch_close(w, count, &n_gone);
		n = 0;
		while (!n_gone)
			assert_int_equal(loop_step(l, 100 * MS), 0);
		assert_int_equal(n, 0);
		loop_free(l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_but_the_loopback),
		cmocka_unit_test(the_address_is_chosen_by_route),
		cmocka_unit_test(the_interface_of_an_address),
		cmocka_unit_test(changes_are_told),
	};

	return cmocka_run_group_tests(tests, enter, NULL);
}
