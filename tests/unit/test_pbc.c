/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_pbc.c — what a proto3 peer would have written comes out of our proto2 schemas */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/rpc/health.pb-c.h"
#include "common/rpc/pbc.h"
#include "p2p/api/dfdaemon.pb-c.h"
#include "p2p/api/scheduler.pb-c.h"

#define PACKED(m, want)                                                                            \
	do {                                                                                       \
		_cleanup_buf_ struct buf b_ = {0};                                                 \
		assert_int_equal(pbc_pack(&(m)->base, &b_), 0);                                    \
		assert_int_equal(b_.len, sizeof(want) - 1);                                        \
		if (b_.len)                                                                        \
			assert_memory_equal(b_.data, want, sizeof(want) - 1);                      \
	} while (0)

static void nonzero_is_present(void **state)
{
	Scheduler__V2__RegisterPersistentCachePeerRequest m =
		SCHEDULER__V2__REGISTER_PERSISTENT_CACHE_PEER_REQUEST__INIT;

	PACKED(&m, "");
	m.persistent = 1;
	m.piece_length = 300;
	m.concurrent_piece_count = 7;
	PACKED(&m, "\x08\x01\x20\xac\x02\x30\x07");
	assert_true(m.has_persistent);
	assert_false(m.has_piece_count);
	/* an explicit zero is the caller's to ask for */
	m.has_piece_count = 1;
	PACKED(&m, "\x08\x01\x20\xac\x02\x30\x07\x38\x00");
}

static void enums_too(void **state)
{
	Grpc__Health__V1__HealthCheckResponse m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	PACKED(&m, "");
	m.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
	PACKED(&m, "\x08\x02");
}

/* Duration comes from a proto3 file: no has_ flags, and touching them would be fatal */
static void well_known_types_are_left_alone(void **state)
{
	Dfdaemon__V2__UploadPersistentCacheTaskRequest m =
		DFDAEMON__V2__UPLOAD_PERSISTENT_CACHE_TASK_REQUEST__INIT;
	Google__Protobuf__Duration d = GOOGLE__PROTOBUF__DURATION__INIT;

	m.ttl = &d;
	PACKED(&m, "\x3a\x00");
	d.seconds = 3;
	m.path = (char *)"";
	PACKED(&m, "\x12\x00\x3a\x02\x08\x03");
	assert_ptr_equal(d.base.descriptor, &google__protobuf__duration__descriptor);
}

static void oneofs_are_walked_by_their_case(void **state)
{
	Dfdaemon__V2__DownloadPersistentCacheTaskResponse m =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Dfdaemon__V2__DownloadPersistentCacheTaskStartedResponse s =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE__INIT;

	s.content_length = 5;
	m.download_persistent_cache_task_started_response = &s;
	PACKED(&m, ""); /* no case is set */
	m.response_case =
		DFDAEMON__V2__DOWNLOAD_PERSISTENT_CACHE_TASK_RESPONSE__RESPONSE_DOWNLOAD_PERSISTENT_CACHE_TASK_STARTED_RESPONSE;
	PACKED(&m, "\x22\x02\x08\x05");
}

static void repeated_messages_are_walked(void **state)
{
	Dfdaemon__V2__StatLocalPersistentCacheTaskResponse a =
		DFDAEMON__V2__STAT_LOCAL_PERSISTENT_CACHE_TASK_RESPONSE__INIT;
	Dfdaemon__V2__StatLocalPersistentCacheTaskResponse b = a, *both[] = {&a, &b};
	Dfdaemon__V2__ListLocalPersistentCacheTasksResponse m =
		DFDAEMON__V2__LIST_LOCAL_PERSISTENT_CACHE_TASKS_RESPONSE__INIT;
	_cleanup_buf_ struct buf out = {0};
	Dfdaemon__V2__ListLocalPersistentCacheTasksResponse *back;

	a.content_length = 1;
	b.content_length = 2;
	m.tasks = both;
	m.n_tasks = 2;
	buf_adds(&out, "before");
	assert_int_equal(pbc_pack(&m.base, &out), 0);
	assert_memory_equal(out.data, "before", 6);
	back = pbc_unpack(&dfdaemon__v2__list_local_persistent_cache_tasks_response__descriptor,
		out.data + 6, out.len - 6);
	assert_non_null(back);
	assert_int_equal(back->n_tasks, 2);
	assert_true(back->tasks[1]->has_content_length);
	assert_int_equal(back->tasks[1]->content_length, 2);
	protobuf_c_message_free_unpacked(&back->base, NULL);
}

static void *unpack(const char *p, size_t n)
{
	return pbc_unpack(&dfdaemon__v2__list_local_persistent_cache_tasks_response__descriptor,
		(const uint8_t *)p, n);
}

static void bad_bytes_are_refused(void **state)
{
	Dfdaemon__V2__ListLocalPersistentCacheTasksResponse *m;

	m = unpack("", 0);
	assert_non_null(m);
	protobuf_c_message_free_unpacked(&m->base, NULL);
	assert_null(unpack("\xff\xff", 2));
	assert_null(unpack("\x0a\x05\x0a", 3)); /* longer than there is */
	/* a string (field 1 of the inner message) that is UTF-8, and that is not */
	m = unpack("\x0a\x04\x0a\x02\xc3\xbc", 6);
	assert_non_null(m);
	assert_string_equal(m->tasks[0]->task_id, "ü");
	protobuf_c_message_free_unpacked(&m->base, NULL);
	assert_null(unpack("\x0a\x04\x0a\x02\xc3\x28", 6));
	/* an unknown field of a newer peer is no error */
	m = unpack("\xf8\x07\x01", 3);
	assert_non_null(m);
	assert_int_equal(m->base.n_unknown_fields, 1);
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nonzero_is_present),
		cmocka_unit_test(enums_too),
		cmocka_unit_test(well_known_types_are_left_alone),
		cmocka_unit_test(oneofs_are_walked_by_their_case),
		cmocka_unit_test(repeated_messages_are_walked),
		cmocka_unit_test(bad_bytes_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
