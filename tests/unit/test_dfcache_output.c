/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dfcache_output.c — the stat table to the byte, JSON that parses, exit statuses, log rotation */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/fd.h"
#include "common/path.h"
#include "common/rpc/rpc.h"
#include "dfcache/exit.h"
#include "dfcache/logs.h"
#include "dfcache/output.h"

static void stat_table(void **state)
{
	Common__V2__PersistentCacheTask t = COMMON__V2__PERSISTENT_CACHE_TASK__INIT;
	Google__Protobuf__Duration ttl = GOOGLE__PROTOBUF__DURATION__INIT;
	Google__Protobuf__Timestamp at = GOOGLE__PROTOBUF__TIMESTAMP__INIT, later = at;
	_cleanup_buf_ struct buf b = {0}, c = {0};

	t.id = (char *)"2229733261";
	t.state = (char *)"Succeeded";
	t.content_length = 19;
	t.piece_length = 4194304;
	t.persistent_replica_count = 2;
	ttl.seconds = 3600;
	at.seconds = 1751364000;
	later.seconds = 1751364002;
	t.ttl = &ttl;
	t.created_at = &at;
	t.updated_at = &later;
	output_stat_table(&t, &b);
	assert_string_equal(buf_str(&b),
		"     ID         STATE     CONTENT LENGTH   PIECE LENGTH   PERSISTENT REPLICA COUNT   "
		"TTL         CREATED               UPDATED       \n"
		" 2229733261   Succeeded   19 B             4.0 MiB        2                          "
		"1h    2025-07-01 10:00:00   2025-07-01 10:00:02 \n");
	/* nothing there, and what a terminal would obey */
	t = (Common__V2__PersistentCacheTask)COMMON__V2__PERSISTENT_CACHE_TASK__INIT;
	t.id = (char *)"\033[2J";
	output_stat_table(&t, &c);
	assert_null(strchr(buf_str(&c), '\033'));
	assert_non_null(strstr(buf_str(&c), " 0s "));
}

static void stat_json(void **state)
{
	Common__V2__PersistentCacheTask t = COMMON__V2__PERSISTENT_CACHE_TASK__INIT;
	Dfcachefiles__V1__Task local = DFCACHEFILES__V1__TASK__INIT;
	Dfcachefiles__V1__Holder h = DFCACHEFILES__V1__HOLDER__INIT, *hs = &h;
	uint8_t fingerprint[16] = {0xab};
	_cleanup_buf_ struct buf b = {0};

	t.id = (char *)"1";
	t.state = (char *)"Succeeded";
	h.hostname = (char *)"node\n1";
	h.state = DFCACHEFILES__V1__TASK_STATE__COMPLETE;
	h.port = 4000;
	local.holders = &hs;
	local.n_holders = 1;
	local.has_fingerprint = true;
	local.fingerprint = (ProtobufCBinaryData){16, fingerprint};
	local.expires_ns = 1751364000123456789u;
	output_stat_json(&t, &local, &b);
	assert_string_equal(buf_str(&b),
		"{\"id\": \"1\", \"state\": \"Succeeded\", \"content_length\": 0, "
		"\"piece_length\": 0, \"piece_count\": 0, \"tag\": null, \"application\": null, "
		"\"replicas_wanted\": 0, \"replicas\": 0, \"copies\": 0, \"ttl_seconds\": 0, "
		"\"created\": null, \"updated\": null, \"state_here\": null, \"pieces_here\": 0, "
		"\"bytes_on_disk\": 0, \"pinned\": false, \"leased\": false, \"used\": null, "
		"\"expires\": 1751364000.123, \"generation\": 0, "
		"\"fingerprint\": \"ab000000000000000000000000000000\", "
		"\"holders\": [{\"host_id\": null, \"hostname\": \"node\\u000a1\", \"ip\": null, "
		"\"port\": 4000, \"peer_id\": null, \"persistent\": false, "
		"\"state\": \"COMPLETE\", \"local\": false}], \"owner\": null, \"note\": null}\n");
}

static void statuses(void **state)
{
	static const struct {
		int status;
		const char *message;
		enum exit_status exit;
	} rows[] = {
		{RPC_OK, "", EXIT_OK},
		{RPC_INVALID_ARGUMENT, "", EXIT_INVALID},
		{RPC_NOT_FOUND, "", EXIT_NOT_FOUND},
		{RPC_RESOURCE_EXHAUSTED, "", EXIT_NO_SPACE},
		{RPC_DEADLINE_EXCEEDED, "", EXIT_TIMEOUT},
		{RPC_UNAVAILABLE, "", EXIT_UNAVAILABLE},
		{RPC_PERMISSION_DENIED, "", EXIT_DENIED},
		{RPC_DATA_LOSS, "", EXIT_CORRUPT},
		{RPC_ALREADY_EXISTS, "", EXIT_EXISTS},
		{RPC_INTERNAL, "", EXIT_FAILED},
		{RPC_INTERNAL, "no space left on device: not enough space", EXIT_NO_SPACE},
		{RPC_INTERNAL, "status: NotFound, message: \"x\"", EXIT_NOT_FOUND},
		{RPC_INTERNAL, "output path /x is already exists", EXIT_EXISTS},
		{RPC_INTERNAL, "digest mismatch expected: a, actual: b", EXIT_CORRUPT},
		{RPC_CANCELLED, "Timeout expired", EXIT_TIMEOUT},
		{RPC_CANCELLED, "", EXIT_FAILED},
		{99, "", EXIT_FAILED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(exit_from_status(rows[i].status, rows[i].message), rows[i].exit);
	assert_int_equal(exit_from_errno(EACCES), EXIT_DENIED);
	assert_int_equal(exit_from_errno(ENOENT), EXIT_NOT_FOUND);
	assert_int_equal(exit_from_errno(ENOSPC), EXIT_NO_SPACE);
	assert_int_equal(exit_from_errno(EIO), EXIT_FAILED);
}

/* ---- rotation ------------------------------------------------------------------------------ */

static void write_log(int dirfd, const char *text, time_t when)
{
	_cleanup_fd_ int fd =
		openat(dirfd, LOG_FILE_NAME, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	const struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};

	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
	assert_int_equal(futimens(fd, times), 0);
}

static void holds(int dirfd, const char *name, const char *text)
{
	_cleanup_buf_ struct buf b = {0};
	int r = fd_read_file(dirfd, name, 1000, &b);

	if (!text) {
		assert_int_equal(r, -ENOENT);
		return;
	}
	assert_int_equal(r, 0);
	assert_string_equal(buf_str(&b), text);
}

static void rotates_hourly(void **state)
{
	char dir[] = "/tmp/test_dfcache_output.XXXXXX";
	const time_t t = 3600 * 400000;
	int tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC), d;

	assert_non_null(mkdtemp(dir));
	d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(logs_rotate(d, 2, t), 0);
	write_log(d, "a", t + 10);
	assert_int_equal(logs_rotate(d, 2, t + 3599), 0);
	holds(d, "dfcache.log", "a");
	assert_int_equal(logs_rotate(d, 2, t + 3600), 0);
	holds(d, "dfcache.log", NULL);
	holds(d, "dfcache.log.1", "a");
	write_log(d, "b", t + 3600);
	assert_int_equal(logs_rotate(d, 2, t + 7200), 0);
	write_log(d, "c", t + 7200);
	assert_int_equal(logs_rotate(d, 2, t + 10800), 0);
	holds(d, "dfcache.log.1", "c");
	holds(d, "dfcache.log.2", "b");
	holds(d, "dfcache.log.3", NULL);
	/* none kept: the old one goes */
	write_log(d, "d", t);
	assert_int_equal(logs_rotate(d, 0, t + 10800), 0);
	holds(d, "dfcache.log", NULL);
	close(d);
	assert_int_equal(path_remove_tree(tmp, strrchr(dir, '/') + 1, NULL), 0);
	close(tmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stat_table),
		cmocka_unit_test(stat_json),
		cmocka_unit_test(statuses),
		cmocka_unit_test(rotates_hourly),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
