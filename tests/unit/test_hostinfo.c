/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_hostinfo.c — figures of the host: parsers on known text, plausibility of the real ones; the
 * interface of an address; ring and resolver beside them
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
#include <time.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/netif.h"
#include "p2p/hostinfo.h"
#include "p2p/resolve.h"
#include "p2p/ring.h"
#include "p2p/scheduler/scheduler.h"

#define SEC UINT64_C(1000000000)

static void proc_text_is_understood(void **state)
{
	static const char stat[] = "cpu  100 20 300 4000 50 6 7 8 9 1\ncpu0 1 2 3 4\n";
	static const char mem[] =
		"MemTotal:       16000 kB\nMemFree:  1000 kB\nMemAvailable:   9000 kB\n";
	static const char self[] = "42 (odd) name) (x) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0";
	static const char sock[] = "sockets: used 9\nTCP: inuse 31 orphan 0 tw 4 alloc 7 mem 3\n";
	static const char cores[] = "processor : 0\nphysical id : 0\ncore id : 0\n\n"
				    "processor : 1\nphysical id : 0\ncore id : 1\n\n"
				    "processor : 2\nphysical id : 0\ncore id : 0\n\n"
				    "processor : 3\nphysical id : 1\ncore id : 0\n";
	struct hostinfo_cpu c;
	uint64_t a, b, d;
	uint32_t n;

	assert_true(hostinfo_parse_stat(stat, 100, &c));
	assert_true(c.user == 1 && c.nice == 0.2 && c.system == 3 && c.idle == 40);
	assert_true(c.iowait == 0.5 && c.steal == 0.08 && c.guest_nice == 0.01);
	assert_false(hostinfo_parse_stat("intr 5\n", 100, &c));
	assert_false(hostinfo_parse_stat("cpu  1 2\n", 100, &c));
	assert_true(hostinfo_parse_meminfo(mem, &a, &b, &d));
	assert_true(a == 16000 * 1024 && b == 9000 * 1024 && d == 1000 * 1024);
	assert_false(hostinfo_parse_meminfo("MemTotal: 5 kB\n", &a, &b, &d));
	assert_true(hostinfo_parse_self_stat(self, &a));
	assert_int_equal(a, 333);
	assert_false(hostinfo_parse_self_stat("42 no parenthesis", &a));
	assert_true(hostinfo_parse_sockstat(sock, &n));
	assert_int_equal(n, 31);
	assert_false(hostinfo_parse_sockstat("UDP: inuse 3", &n));
	assert_int_equal(hostinfo_parse_cores(cores), 3);
	assert_int_equal(hostinfo_parse_cores("no cores here\n"), 0);
}

static void text_of_the_control_group_is_understood(void **state)
{
	uint64_t a, b;
	int64_t q;

	assert_true(hostinfo_parse_cpu_max("150000 100000\n", &q, &a));
	assert_true(q == 150000 && a == 100000);
	assert_true(hostinfo_parse_cpu_max("max 100000\n", &q, &a));
	assert_true(q == -1 && a == 100000);
	assert_false(hostinfo_parse_cpu_max("", &q, &a));
	assert_false(hostinfo_parse_cpu_max("0 0\n", &q, &a));
	assert_true(hostinfo_parse_cpu_stat("usage_usec 1234\nuser_usec 1000\n", &a));
	assert_int_equal(a, 1234);
	assert_false(hostinfo_parse_cpu_stat("user_usec 1000\n", &a));
	assert_true(
		hostinfo_parse_io_stat("8:0 rbytes=100 wbytes=20 rios=3 wios=4 dbytes=9 dios=0\n"
				       "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n",
			&a, &b));
	assert_true(a == 101 && b == 22);
	assert_false(hostinfo_parse_io_stat("", &a, &b));
	assert_true(
		hostinfo_parse_io("rchar: 9\nwchar: 9\nread_bytes: 5\nwrite_bytes: 6\n", &a, &b));
	assert_true(a == 5 && b == 6);
	assert_false(hostinfo_parse_io("rchar: 9\n", &a, &b));
}

static void real_figures_are_plausible(void **state)
{
	struct hostinfo_sample s;
	struct hostinfo *h;
	struct timespec t0, t;
	double used;

	assert_int_equal(hostinfo_new(&h), 0);
	hostinfo_read(h, SEC, &s);
	assert_true(s.cpu_percent == 0 && s.process_cpu_percent == 0);
	assert_true(s.logical_cpus >= 1 && s.physical_cpus >= 1);
	assert_true(s.mem_total > s.mem_available && s.mem_available > 0);
	assert_true(s.process_rss > 100000 && s.process_rss < s.mem_total);
	assert_int_equal(s.mem_total / 4096,
		(uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4096);
	/* burn 0.3 s of one processor: it must show */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
	do {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
		used = (double)(t.tv_sec - t0.tv_sec) + (double)(t.tv_nsec - t0.tv_nsec) / 1e9;
	} while (used < 0.3);
	hostinfo_read(h, 2 * SEC, &s); /* "a second later" */
	assert_true(s.process_cpu_percent > 20 && s.process_cpu_percent < 50);
	assert_true(s.cpu_percent > 0 && s.cpu_percent <= 100);
	assert_true(*hostinfo_kernel(h) && *hostinfo_os_version(h));
	hostinfo_free(h);
}

static void the_interface_of_an_address(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	struct netif_load before, after;
	struct netif *n;
	char b[1000] = {0};
	int fd, index;

	assert_int_equal(netif_new(&n), 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	index = netif_index_of(n, (struct sockaddr *)&a);
	assert_true(index > 0);
	assert_int_equal(netif_read(n, index, &before), 0);
	assert_string_equal(before.name, "lo");
	assert_int_equal(before.speed, 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	a.sin_port = htons(9);
	for (int i = 0; i < 100; i++)
		(void)!sendto(fd, b, sizeof(b), 0, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	assert_int_equal(netif_read(n, index, &after), 0);
	assert_true(after.tx_bytes >= before.tx_bytes + 100 * sizeof(b));
	a.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 is nobody's */
	assert_int_equal(netif_index_of(n, (struct sockaddr *)&a), -ENODEV);
	assert_int_equal(netif_read(n, 0x7ffffff0, &after), -ENODEV);
	netif_free(n);
}

/* the worked values of dragonfly-grpc.md §6.5 */
static void the_ring_agrees_with_the_reference(void **state)
{
	struct ring_node v[2] = {0};

	for (unsigned i = 0; i < 2; i++) {
		struct sockaddr_in *a = (struct sockaddr_in *)&v[i].addr;

		a->sin_family = AF_INET;
		a->sin_addr.s_addr = htonl(0x0a000001u + i);
		a->sin_port = htons(8002);
	}
	assert_true(ring_point(&v[0].addr) == UINT64_C(11045254673571024366));
	assert_true(ring_point(&v[1].addr) == UINT64_C(4348847603351778578));
	assert_true(ring_key("91ae5d9d", 5) == UINT64_C(12244007830085885224));
	assert_int_equal(ring_pick(v, 2, RING_ADDRESSES, "91ae5d9d"), 1); /* wraps */
	assert_int_equal(
		ring_pick(v, 1, RING_ADDRESSES, "7"), 0); /* shorter than five characters */
}

/* which of three names, and of two addresses as names, dragonfly-hashring 0.2.0 itself takes */
static void the_ring_of_names_agrees_with_the_published_one(void **state)
{
	static const struct {
		const char *id;
		size_t of_names, of_addresses;
	} said[] = {
		{"91ae5d9d7ea8763cc482e9999a6d5edac534a6000599777d6a26d1c66d2bab16", 2, 0},
		{"0d0f8536f51227fda07141308f5ae8149b561b51b61c6517125f25dfa27acf5b", 1, 0},
		{"a98b76813681e30cf83733fe055792b86393bba6f18e3d89fd8c18253922d992", 1, 0},
		{"e894374a39e39cfa78c409cac02f2cdbb5605a24f5ff55c7bc2b624877556c03", 1, 1},
		{"7160a071a9acea5ac341e770c14d0211c38a4b15b3bbe2c5f848a706fd47419e", 2, 1},
		{"06149eed9221a4feaccc75a4797330b6f01df4288d9cc0953df5b8123300e1ab", 0, 1},
		{"e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249", 2, 0},
		{"7", 1, 1},
		{"", 2, 1},
	};
	const struct ring_node names[] = {
		{.name = "scheduler-0"}, {.name = "scheduler-1"}, {.name = "scheduler-2"}};
	const struct ring_node addresses[] = {{.name = "10.0.0.1:8002"}, {.name = "10.0.0.2:8002"}};

	for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
		assert_int_equal(ring_pick(names, 3, RING_NAMES, said[i].id), said[i].of_names);
		assert_int_equal(
			ring_pick(addresses, 2, RING_NAMES, said[i].id), said[i].of_addresses);
	}
}

struct told {
	size_t n, calls;
	struct sockaddr_storage v[8];
};

static void on_told(void *arg, const struct sockaddr_storage *v, size_t n)
{
	struct told *t = arg;

	t->calls++;
	t->n = n;
	memcpy(t->v, v, (n < 8 ? n : 8) * sizeof(*v));
}

static void names_become_addresses(void **state)
{
	static const char *const names[] = {
		"127.0.0.5:4000", "[fd00::7]:4001", "localhost:4002", "no-such-name.invalid:1"};
	static const char *const bad[] = {"host", "host:0", "host:65536", ":5", "fd00::1:5", "[]:5",
		"host:x", "[fd00::1:5", ""};
	struct told t = {0};
	struct resolve *r;
	struct loop *l;
	size_t at = 99;
	bool v4 = false, v6 = false, local = false;

	assert_int_equal(loop_new(&l, &loop_backend_epoll, 1), 0);
	assert_int_equal(resolve_new(&r, l, names, 4, SEC / 10, on_told, &t, &at), 0);
	while (!t.calls)
		loop_step(l, SEC);
	for (size_t i = 0; i < t.n; i++) {
		struct sockaddr_in *a = (struct sockaddr_in *)&t.v[i];

		v4 |= a->sin_family == AF_INET && a->sin_port == htons(4000) &&
		      a->sin_addr.s_addr == htonl(0x7f000005);
		v6 |= a->sin_family == AF_INET6 && a->sin_port == htons(4001);
		local |= a->sin_port == htons(4002);
	}
	assert_true(v4 && v6 && local);
	resolve_free(r);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		at = 99;
		assert_int_equal(resolve_new(&r, l, &bad[i], 1, SEC, on_told, &t, &at), -EINVAL);
		assert_int_equal(at, 0);
	}
	while (loop_get_stats(l).n_inflight)
		loop_step(l, SEC);
	loop_free(l);
}

static void networks_are_written_as_prefixes(void **state)
{
	static const char *const good[] = {
		"10.0.0.0/8", "192.0.2.1", "fd00::/8", "::1", "0.0.0.0/0"};
	static const unsigned bits[] = {8, 32, 8, 128, 0};
	static const char *const bad[] = {"10.0.0.0/33", "10.0.0/8", "host/8", "", "/8",
		"fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x"};
	struct scheduler_prefix p;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(scheduler_parse_prefix(good[i], &p), 0);
		assert_int_equal(p.bits, bits[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(scheduler_parse_prefix(bad[i], &p), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proc_text_is_understood),
		cmocka_unit_test(text_of_the_control_group_is_understood),
		cmocka_unit_test(real_figures_are_plausible),
		cmocka_unit_test(the_interface_of_an_address),
		cmocka_unit_test(the_ring_agrees_with_the_reference),
		cmocka_unit_test(the_ring_of_names_agrees_with_the_published_one),
		cmocka_unit_test(names_become_addresses),
		cmocka_unit_test(networks_are_written_as_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
