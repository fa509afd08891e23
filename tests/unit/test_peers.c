/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_peers.c — links live, die, are known under several addresses; ownership is even and moves only
 * where it must
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#include "p2p/peers.h"

#define SEC UINT64_C(1000000000)

static struct {
	int n_up, n_down, n_restart, n_leaving;
} seen;

static void on_up(void *arg, struct peer_link *l)
{
	assert_true(l->is_live);
	seen.n_up++;
}

static void on_restart(void *arg, struct peer_link *l)
{
	seen.n_restart++;
}

static void on_down(void *arg, struct peer_link *l, bool leaving, const char *why)
{
	assert_false(l->is_live);
	assert_non_null(why);
	seen.n_down++;
	seen.n_leaving += leaving;
}

static void on_forget(void *arg, struct peer_link *l)
{
}

static const struct peers_ops ops = {on_up, on_restart, on_down, on_forget};

static struct sockaddr_storage v4(const char *ip, uint16_t port)
{
	struct sockaddr_storage a = {0};
	struct sockaddr_in *s = (struct sockaddr_in *)&a;

	s->sin_family = AF_INET;
	s->sin_port = htons(port);
	assert_int_equal(inet_pton(AF_INET, ip, &s->sin_addr), 1);
	return a;
}

static struct sockaddr_storage v6(const char *ip, uint16_t port)
{
	struct sockaddr_storage a = {0};
	struct sockaddr_in6 *s = (struct sockaddr_in6 *)&a;

	s->sin6_family = AF_INET6;
	s->sin6_port = htons(port);
	assert_int_equal(inet_pton(AF_INET6, ip, &s->sin6_addr), 1);
	return a;
}

static struct peers p;

static int setup(void **state)
{
	memset(&seen, 0, sizeof(seen));
	peers_init(&p, "self", 1, 0, &ops, NULL);
	return 0;
}

static int teardown(void **state)
{
	peers_fini(&p);
	return 0;
}

static struct peer_link *live(int i)
{
	char ip[32], id[32];
	struct sockaddr_storage a;
	struct peer_link *l;

	snprintf(ip, sizeof(ip), "10.1.%d.%d", i / 200, i % 200 + 1);
	snprintf(id, sizeof(id), "host%d", i);
	a = v4(ip, 4000);
	l = peers_learn(&p, &a, true, SEC);
	assert_non_null(l);
	peers_sent(&p, l, SEC);
	peers_answer(&p, l, id, 100, false, SEC);
	assert_true(l->is_live);
	return l;
}

static void ownership_is_even_and_moves_little(void **state)
{
	enum { HOSTS = 16, TASKS = 20000 };
	static struct peer_link *links[HOSTS], *before[TASKS];
	int count[HOSTS + 1] = {0}, moved = 0, from_dead = 0;
	char id[16];

	for (int i = 0; i < HOSTS; i++)
		links[i] = live(i);
	for (int t = 0; t < TASKS; t++) {
		snprintf(id, sizeof(id), "%d", t);
		before[t] = peers_owner(&p, id);
		for (int i = 0; i < HOSTS; i++)
			count[i] += before[t] == links[i];
		count[HOSTS] += !before[t];
	}
	for (int i = 0; i <= HOSTS; i++)
		assert_in_range(
			count[i], TASKS / (HOSTS + 1) * 85 / 100, TASKS / (HOSTS + 1) * 115 / 100);
	peers_leaving(&p, links[5], 2 * SEC);
	for (int t = 0; t < TASKS; t++) {
		snprintf(id, sizeof(id), "%d", t);
		if (before[t] == links[5]) {
			from_dead++;
			assert_ptr_not_equal(peers_owner(&p, id), links[5]);
		} else {
			moved += peers_owner(&p, id) != before[t];
		}
		/* the one who would own it without links[5] is the one who owns it now */
		assert_ptr_equal(peers_owner(&p, id), peers_owner_of(&p, peers_hash(id), links[5]));
	}
	assert_int_equal(moved, 0);
	assert_int_equal(from_dead, count[5]);
	/* back: exactly as before */
	peers_sent(&p, links[5], 3 * SEC);
	peers_answer(&p, links[5], "host5", 101, false, 3 * SEC);
	for (int t = 0; t < TASKS; t++) {
		snprintf(id, sizeof(id), "%d", t);
		assert_ptr_equal(peers_owner(&p, id), before[t]);
	}
}

static void a_silent_peer_dies_and_a_refusing_one_sooner(void **state)
{
	struct peer_link *l = live(1), *m = live(2);

	peers_tick(&p, 9 * SEC);
	assert_true(l->is_live);
	peers_tick(&p, 9 * SEC + SEC / 5);
	assert_false(l->is_live);
	assert_int_equal(seen.n_down, 2);
	/* again */
	peers_sent(&p, l, 10 * SEC);
	peers_answer(&p, l, "host1", 100, false, 10 * SEC);
	assert_true(l->is_live);
	for (uint64_t t = 13 * SEC; l->is_live; t = l->next_ns) {
		assert_true(t < 16 * SEC);
		assert_ptr_equal(peers_due(&p, t) == l || peers_due(&p, t) == m, true);
		peers_sent(&p, l, t);
		peers_no_answer(&p, l, t);
	}
	assert_int_equal(seen.n_leaving, 0);
}

static void a_restart_is_seen_and_a_goodbye_believed(void **state)
{
	struct peer_link *l = live(1);

	peers_sent(&p, l, 2 * SEC);
	peers_answer(&p, l, "host1", 100, false, 2 * SEC);
	assert_int_equal(seen.n_restart, 0);
	peers_sent(&p, l, 3 * SEC);
	peers_answer(&p, l, "host1", 200, true, 3 * SEC);
	assert_int_equal(seen.n_restart, 1);
	assert_true(l->is_draining);
	peers_leaving(&p, l, 4 * SEC);
	assert_int_equal(seen.n_leaving, 1);
	assert_int_equal(p.n_live, 0);
}

static void one_peer_at_two_addresses_counts_once(void **state)
{
	struct sockaddr_storage a = v6("fd00::1", 4000);
	struct peer_link *l = live(1), *m = peers_learn(&p, &a, true, SEC);

	peers_sent(&p, m, SEC);
	peers_answer(&p, m, "host1", 100, false, SEC);
	assert_true(m->is_alias && !m->is_live);
	assert_int_equal(p.n_live, 1);
	assert_ptr_equal(peers_find_host(&p, "host1"), l);
	/* the first address dies: the other is tried at once and takes over */
	peers_leaving(&p, l, 2 * SEC);
	assert_true(m->next_ns <= 2 * SEC);
	peers_sent(&p, m, 2 * SEC);
	peers_answer(&p, m, "host1", 100, false, 2 * SEC);
	assert_true(m->is_live);
}

static void a_peer_that_moves_is_followed(void **state)
{
	struct peer_link *l = live(1);
	struct sockaddr_storage at = v4("10.2.0.1", 4000), moved = v4("10.2.0.2", 4000);

	(void)state;
	/* reached at another address than the one it tells: that is no move */
	peers_told(&p, l, &at, 2 * SEC);
	assert_false(peers_addr_equal(&l->addr, &at, true));
	peers_told(&p, l, &moved, 3 * SEC);
	assert_true(peers_addr_equal(&l->addr, &moved, true));
	assert_ptr_equal(peers_due(&p, 3 * SEC), l);
	assert_true(l->is_live);
}

static void our_own_address_is_recognised(void **state)
{
	struct sockaddr_storage a = v4("10.0.0.1", 4000);
	struct peer_link *l;

	assert_int_equal(peers_set_contacts(&p, &a, 1, SEC), 0);
	assert_false(peers_tried_all(&p));
	l = peers_due(&p, SEC);
	assert_non_null(l);
	peers_sent(&p, l, SEC);
	peers_answer(&p, l, "self", 1, false, SEC);
	assert_true(l->is_self);
	assert_true(peers_tried_all(&p));
	assert_null(peers_due(&p, 1000 * SEC));
	assert_int_equal(p.n_live, 0);
	/* another daemon with our name is neither us nor a peer */
	a = v4("10.0.0.2", 4000);
	l = peers_learn(&p, &a, true, SEC);
	peers_sent(&p, l, SEC);
	peers_answer(&p, l, "self", 2, false, SEC);
	assert_false(l->is_self || l->is_live);
}

static void another_host_at_an_address_replaces_the_first(void **state)
{
	struct peer_link *l = live(1);

	peers_sent(&p, l, 2 * SEC);
	peers_answer(&p, l, "somebody-else", 5, false, 2 * SEC);
	assert_int_equal(seen.n_down, 1);
	assert_int_equal(seen.n_up, 2);
	assert_string_equal(l->host_id, "somebody-else");
}

static void trust_follows_the_configuration(void **state)
{
	struct sockaddr_storage a = v4("10.0.0.1", 4000), b = v4("10.0.0.2", 4000);
	struct sockaddr_storage c = v4("10.0.0.1", 50123), mapped = v6("::ffff:10.0.0.1", 1);

	assert_int_equal(peers_set_contacts(&p, &a, 1, SEC), 0);
	peers_learn(&p, &b, false, SEC);
	assert_true(peers_trusts(&p, &c)); /* any port of the host */
	assert_true(peers_trusts(&p, &mapped));
	assert_false(peers_trusts(&p, &b));
	peers_learn(&p, &b, true, SEC);
	assert_true(peers_trusts(&p, &b));
}

static void the_table_is_bounded_and_forgets(void **state)
{
	struct sockaddr_storage a;
	size_t n = 0;

	for (int i = 0; i < 400; i++) {
		a = v4("10.9.0.1", (uint16_t)(1000 + i));
		n += peers_learn(&p, &a, true, SEC) != NULL;
	}
	assert_int_equal(n, PEERS_MAX);
	a = v4("10.9.0.2", 1);
	assert_int_equal(peers_set_contacts(&p, &a, 1, SEC), -ENOSPC);
	peers_tick(&p, 3602 * SEC);
	assert_int_equal(p.n, 0);
	assert_int_equal(peers_set_contacts(&p, &a, 1, SEC), 0);
	peers_tick(&p, 99999 * SEC); /* configured ones stay */
	assert_int_equal(p.n, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(ownership_is_even_and_moves_little),
		T(a_silent_peer_dies_and_a_refusing_one_sooner),
		T(a_restart_is_seen_and_a_goodbye_believed),
		T(one_peer_at_two_addresses_counts_once),
		T(a_peer_that_moves_is_followed),
		T(our_own_address_is_recognised),
		T(another_host_at_an_address_replaces_the_first),
		T(trust_follows_the_configuration),
		T(the_table_is_bounded_and_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
