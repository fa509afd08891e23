/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_registry.c — what the embedded scheduler knows stays consistent, bounded and expires; where
 * replicas go; who gets whom as a parent
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
#include <netinet/in.h>

#include "p2p/scheduler/children.h"
#include "p2p/scheduler/placement.h"
#include "p2p/scheduler/registry.h"

#define SEC UINT64_C(1000000000)
#define GIB (UINT64_C(1) << 30)

static struct registry reg;
static struct placement_rng rng;
static struct children children;
static int n_gone, n_tasks_gone;

static void on_copy_gone(void *arg, struct reg_copy *c)
{
	n_gone++;
	if (c->child)
		children_leave(&children, c->child);
	children_copy_gone(&children, c);
}

static void on_task_gone(void *arg, struct reg_task *t)
{
	n_tasks_gone++;
}

static const struct registry_ops reg_ops = {on_copy_gone, on_task_gone};

static unsigned n_sends, n_ends;

static void on_send(void *arg, struct child *c)
{
	n_sends++;
	assert_in_range(c->n_parents, 1, CHILD_PARENTS);
	for (size_t i = 0; i < c->n_parents; i++) {
		assert_ptr_not_equal(c->parents[i]->host, c->copy->host);
		for (size_t k = 0; k < i; k++)
			assert_ptr_not_equal(c->parents[i], c->parents[k]);
	}
}

static void on_end(void *arg, struct child *c, int status, const char *message)
{
	n_ends++;
}

static const struct children_ops child_ops = {on_send, on_end};

static int setup(void **state)
{
	n_gone = n_tasks_gone = 0;
	n_sends = n_ends = 0;
	rng.state = 5;
	registry_init(&reg, 100, &reg_ops, NULL);
	children_init(&children, &rng, &child_ops, NULL);
	return 0;
}

static int teardown(void **state)
{
	registry_fini(&reg);
	assert_int_equal(children.n, 0);
	return 0;
}

static struct reg_host *host(int i)
{
	char id[32];
	struct reg_host *h;
	struct sockaddr_in *a;

	snprintf(id, sizeof(id), "host%d", i);
	h = registry_host_ensure(&reg, id);
	assert_non_null(h);
	h->is_live = true;
	a = (struct sockaddr_in *)&h->addr;
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(0x0a000000u + (unsigned)i);
	a->sin_port = htons(4000);
	h->has_disk = true;
	h->disk_total = 100 * GIB;
	h->disk_free = 50 * GIB;
	return h;
}

static struct reg_task *task(const char *id)
{
	struct reg_task *t = registry_task_new(&reg, id, "tag", NULL, "host0");

	assert_non_null(t);
	t->length = GIB;
	t->wanted = 2;
	t->version.generation = 5;
	return t;
}

static struct reg_copy *copy(struct reg_task *t, int h, enum copy_state s, bool persistent)
{
	char peer[32];
	struct reg_copy *c;

	snprintf(peer, sizeof(peer), "peer%d", h);
	c = registry_copy_put(&reg, t, host(h), peer);
	assert_non_null(c);
	c->state = s;
	c->persistent = persistent;
	c->version = t->version;
	return c;
}

/* ---- registry ---------------------------------------------------------------------------- */

static void counts_follow_hosts_and_states(void **state)
{
	struct reg_task *t = task("1");
	uint64_t all, persistent;

	assert_string_equal(registry_state(t), "Failed");
	copy(t, 1, COPY_UPLOADING, true);
	assert_string_equal(registry_state(t), "Uploading");
	copy(t, 1, COPY_SUCCEEDED, true);
	copy(t, 2, COPY_SUCCEEDED, false);
	copy(t, 3, COPY_RUNNING, true);
	registry_count(t, &all, &persistent);
	assert_int_equal(all, 2);
	assert_int_equal(persistent, 1);
	assert_string_equal(registry_state(t), "Succeeded");
	registry_host(&reg, "host1")->is_live = registry_host(&reg, "host2")->is_live = false;
	assert_string_equal(registry_state(t), "Pending");
	registry_host_free(&reg, registry_host(&reg, "host2"));
	assert_int_equal(t->n_copies, 2);
	assert_int_equal(reg.n_copies, 2);
	assert_null(registry_copy_by_peer(t, "peer2"));
	registry_task_free(&reg, t);
	assert_int_equal(n_gone, 3);
	assert_int_equal(reg.n_copies, 0);
	assert_int_equal(n_tasks_gone, 1);
}

static void versions_are_ordered_the_same_way_everywhere(void **state)
{
	struct reg_version a = {.generation = 5, .has_fingerprint = true};
	struct reg_version b = a, none = {0};

	assert_true(registry_version_same(&a, &b));
	b.generation = 9; /* the same bytes imported again */
	assert_true(registry_version_same(&a, &b));
	b.fingerprint[0] = 1;
	assert_false(registry_version_same(&a, &b));
	assert_true(registry_version_newer(&b, &a) && !registry_version_newer(&a, &b));
	b.generation = 5;
	assert_true(registry_version_newer(&b, &a) != registry_version_newer(&a, &b));
	assert_false(registry_version_newer(&a, &a));
	assert_true(registry_version_same(&a, &none)); /* a foreign importer says nothing */
}

static void tombstones_cover_what_is_older(void **state)
{
	assert_int_equal(registry_tombstone_put(&reg, "7", 10, 100 * SEC), 0);
	assert_true(registry_covered(&reg, "7", 10) && registry_covered(&reg, "7", 3));
	assert_false(registry_covered(&reg, "7", 11) || registry_covered(&reg, "8", 3) ||
		     registry_covered(&reg, "7", 0));
	/* neither an older deletion nor an earlier expiry weakens it */
	assert_int_equal(registry_tombstone_put(&reg, "7", 4, 50 * SEC), 0);
	assert_true(registry_covered(&reg, "7", 10));
	registry_expire(&reg, 60 * SEC);
	assert_true(registry_covered(&reg, "7", 10));
	registry_expire(&reg, 100 * SEC);
	assert_false(registry_covered(&reg, "7", 10));
}

static void pages_are_of_owned_tasks_in_order(void **state)
{
	struct reg_task *v[7];
	char id[16], last[TASK_ID_SIZE] = "";
	size_t n, total = 0;

	for (unsigned i = 0; i < 40; i++) {
		snprintf(id, sizeof(id), "%u", i * 7919 % 1009);
		task(id)->is_owned = i % 4 != 0;
	}
	do {
		n = registry_page(&reg, last, v, 7);
		for (size_t i = 0; i < n; i++) {
			assert_true(v[i]->is_owned && strcmp(v[i]->id, last) > 0);
			strcpy(last, v[i]->id);
		}
		total += n;
	} while (n == 7);
	assert_int_equal(total, 30);
}

static void tasks_expire_and_are_bounded(void **state)
{
	char id[16];
	struct reg_task *t;

	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "%d", i);
		t = task(id);
		if (i % 2)
			assert_int_equal(registry_task_set_expiry(&reg, t, (uint64_t)i * SEC), 0);
	}
	assert_null(registry_task_new(&reg, "more", NULL, NULL, NULL));
	assert_int_equal(registry_next(&reg), SEC);
	registry_expire(&reg, 49 * SEC);
	assert_int_equal(reg.tasks.n, 75);
	assert_int_equal(registry_task_set_expiry(&reg, registry_task(&reg, "51"), REG_NEVER), 0);
	registry_expire(&reg, 1000 * SEC);
	assert_int_equal(reg.tasks.n, 51);
	assert_int_equal(registry_next(&reg), UINT64_MAX);
	for (int i = 0; i < REG_HOSTS_MAX; i++)
		host(i);
	assert_null(registry_host_ensure(&reg, "one-too-many"));
}

/* ---- placement --------------------------------------------------------------------------- */

static struct reg_host *target(struct reg_task *t)
{
	const char *why = NULL;
	struct reg_host *h = placement_target(&reg, t, &rng, SEC, &why);

	assert_true(h || why);
	return h;
}

static void target_is_never_an_unfit_host(void **state)
{
	struct reg_task *t = task("1");
	const char *why;

	copy(t, 0, COPY_SUCCEEDED, true);
	assert_null(target(t));
	host(1)->is_live = false;
	host(2)->disable_shared = true;
	host(3)->is_draining = true;
	host(4)->disk_free = 2 * GIB - 1; /* 1 % of 100 GiB stays free, 1 GiB is wanted */
	placement_avoid(t, host(5), 2 * SEC);
	registry_host(&reg, "host1")->is_live = false;
	registry_host(&reg, "host4")->disk_free = 2 * GIB - 1;
	for (int i = 0; i < 50; i++)
		assert_null(placement_target(&reg, t, &rng, SEC, &why));
	assert_non_null(placement_target(&reg, t, &rng, 3 * SEC, &why)); /* avoided no longer */
	registry_host(&reg, "host4")->disk_free = 2 * GIB;
	assert_string_equal(target(t)->id, "host4");
	registry_host(&reg, "host4")->promised_bytes = 1;
	assert_null(target(t));
}

static void equal_hosts_share_by_chance_and_better_ones_win(void **state)
{
	struct reg_task *t = task("1");
	int hits[9] = {0};

	copy(t, 0, COPY_SUCCEEDED, true);
	for (int i = 1; i <= 8; i++)
		host(i);
	for (int i = 0; i < 4000; i++)
		hits[atoi(target(t)->id + 4)]++;
	for (int i = 1; i <= 8; i++)
		assert_in_range(hits[i], 400, 600);
	registry_host(&reg, "host3")->disk_free = 90 * GIB;
	assert_string_equal(target(t)->id, "host3");
	registry_host(&reg, "host3")->n_fetching = 1;
	assert_string_not_equal(target(t)->id, "host3");
	for (int i = 0; i <= 8; i++)
		host(i)->idc = strdup(i == 6 ? "west" : "east");
	assert_string_equal(target(t)->id, "host6"); /* spread goes first */
}

static void location_is_a_path(void **state)
{
	struct reg_task *t = task("1");

	copy(t, 0, COPY_SUCCEEDED, true);
	host(0)->location = strdup("eu|fra|rack1");
	host(1)->location = strdup("eu|fra|rack1");
	host(2)->location = strdup("EU|FRA|rack2");
	host(3)->location = strdup("eu|ams|rack1");
	assert_string_equal(target(t)->id, "host3");
	registry_host(&reg, "host3")->is_draining = true;
	assert_string_equal(target(t)->id, "host2");
}

static void surplus_is_where_it_is_missed_least(void **state)
{
	struct reg_task *t = task("1");

	for (int i = 0; i < 3; i++) {
		copy(t, i, COPY_SUCCEEDED, true);
		host(i)->idc = strdup(i < 2 ? "east" : "west");
	}
	registry_host(&reg, "host0")->disk_free = 5 * GIB;
	assert_string_equal(placement_surplus(t, &rng)->host->id, "host0");
	registry_copy(t, registry_host(&reg, "host0"))->is_kept = true;
	assert_string_equal(placement_surplus(t, &rng)->host->id, "host1");
	registry_copy(t, registry_host(&reg, "host1"))->is_kept = true;
	registry_copy(t, registry_host(&reg, "host2"))->persistent = false;
	assert_null(placement_surplus(t, &rng));
}

/* ---- children ---------------------------------------------------------------------------- */

static struct child *join(struct reg_task *t, int h, bool ours)
{
	return children_register(&children, copy(t, h, COPY_RUNNING, false), ours, NULL, SEC);
}

static void everybody_gets_holders_and_a_random_mix(void **state)
{
	enum { N = 64 };
	struct reg_task *t = task("1");
	struct child *c[N];
	int in_lists[N + 6] = {0}, low = 1000, high = 0;

	for (int i = 0; i < 6; i++)
		copy(t, i, COPY_SUCCEEDED, true);
	for (int i = 0; i < N; i++)
		c[i] = join(t, 6 + i, true);
	for (int i = 0; i < N; i++) {
		assert_int_equal(c[i]->n_holders, CHILD_HOLDERS);
		assert_in_range(c[i]->n_parents, CHILD_HOLDERS + 2, CHILD_PARENTS);
		for (size_t k = 0; k < c[i]->n_parents; k++)
			in_lists[atoi(c[i]->parents[k]->host->id + 4)]++;
	}
	/* rule S2: the first to come do not stick together; everybody is somebody's parent */
	for (int i = 6; i < N + 6; i++) {
		low = in_lists[i] < low ? in_lists[i] : low;
		high = in_lists[i] > high ? in_lists[i] : high;
	}
	assert_in_range(low, 4, 16);
	assert_in_range(high, 16, 40);
}

static void a_dead_parent_is_replaced_everywhere(void **state)
{
	struct reg_task *t = task("1");
	struct child *c[30];
	struct reg_copy *dead;

	copy(t, 0, COPY_SUCCEEDED, true);
	for (int i = 0; i < 30; i++)
		c[i] = join(t, 1 + i, true);
	dead = c[4]->copy;
	n_sends = 0;
	registry_copy_free(&reg, dead);
	assert_in_range(n_sends, 4, 29);
	for (int i = 0; i < 30; i++) {
		if (i == 4)
			continue;
		for (size_t k = 0; k < c[i]->n_parents; k++)
			assert_ptr_not_equal(c[i]->parents[k], dead);
		assert_in_range(c[i]->n_parents, 10, CHILD_PARENTS);
	}
}

static void a_bad_parent_is_not_offered_again(void **state)
{
	struct reg_task *t = task("1");
	struct child *c;

	for (int i = 0; i < 3; i++)
		copy(t, i, COPY_SUCCEEDED, true);
	c = join(t, 9, true);
	assert_int_equal(c->n_parents, 3);
	children_replace(&children, c, "peer1");
	assert_int_equal(c->n_parents, 2);
	assert_true(children_reschedule(&children, c));
	for (size_t k = 0; k < c->n_parents; k++)
		assert_string_not_equal(c->parents[k]->peer_id, "peer1");
	children_block(c, "host0");
	children_block(c, "host2");
	assert_false(children_reschedule(&children, c));
}

static void foreign_children_get_four_and_no_news(void **state)
{
	struct reg_task *t = task("1");
	struct child *c;

	for (int i = 0; i < 10; i++)
		copy(t, i, COPY_SUCCEEDED, true);
	c = join(t, 20, false);
	assert_int_equal(c->n_parents, CHILD_UPSTREAM);
	n_sends = 0;
	join(t, 21, true);
	assert_int_equal(n_sends, 1); /* only to the newcomer itself */
	/* hosts that refuse to serve are nobody's parents */
	for (int i = 0; i < 10; i++)
		registry_host(&reg, "host0")->disable_shared = true;
	assert_true(children_reschedule(&children, c));
	for (size_t k = 0; k < c->n_parents; k++)
		assert_string_not_equal(c->parents[k]->peer_id, "peer0");
}

static void a_child_waits_for_the_first_copy_but_not_for_ever(void **state)
{
	struct reg_task *t = task("1");
	struct child *c;

	copy(t, 0, COPY_UPLOADING, true);
	c = join(t, 1, true);
	assert_int_equal(n_sends, 0);
	copy(t, 0, COPY_SUCCEEDED, true);
	children_wake(&children, t);
	assert_int_equal(n_sends, 1);
	assert_int_equal(c->n_parents, 1);
	t = task("2");
	copy(t, 0, COPY_UPLOADING, true);
	join(t, 1, true);
	children_tick(&children, SEC + CHILD_WAIT_NS - 1);
	assert_int_equal(n_ends, 0);
	children_tick(&children, children_next(&children));
	assert_int_equal(n_ends, 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(counts_follow_hosts_and_states),
		T(versions_are_ordered_the_same_way_everywhere),
		T(tombstones_cover_what_is_older),
		T(pages_are_of_owned_tasks_in_order),
		T(tasks_expire_and_are_bounded),
		T(target_is_never_an_unfit_host),
		T(equal_hosts_share_by_chance_and_better_ones_win),
		T(location_is_a_path),
		T(surplus_is_where_it_is_missed_least),
		T(everybody_gets_holders_and_a_random_mix),
		T(a_dead_parent_is_replaced_everywhere),
		T(a_bad_parent_is_not_offered_again),
		T(foreign_children_get_four_and_no_news),
		T(a_child_waits_for_the_first_copy_but_not_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
