/* SPDX-License-Identifier: GPL-2.0-or-later */
/* import.h — ◆ one file becomes a task: admit → write → announce → commit → report.
 *
 * The source is read once: pieces are hashed as they are copied, holes stay holes; where the file
 * system can, the source is reflinked and only read. The file's CRC-32 is combined from those of the
 * pieces. It is acknowledged only after the store committed it durably and the scheduler knows it.
 * All file work happens on the loop's pool, in slices.
 */
#ifndef P2P_IMPORT_H
#define P2P_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "p2p/attrs.h"
#include "p2p/status.h"
#include "p2p/task_id.h"

struct foreign;
struct import;
struct imports;
struct local;
struct loop;
struct sched;
struct writers;

struct imports_config {
	struct loop *loop;
	struct foreign *foreign;
	struct writers *writers;
	struct sched *sched;
	struct local *local;
	const char *host_id, *hostname, *ip; /* borrowed */
	enum task_id_form id_form;
	bool is_embedded; /* our scheduler: its state is soft, a lost report heals */
	unsigned max_imports; /* 0 = 16; one user (but root) may have half of them */
	uint64_t room_wait_ns; /* 0 = 30 s */
};

int imports_new(struct imports **out, const struct imports_config *cfg);
/* imports_close - running ones fail with UNAVAILABLE */
void imports_close(struct imports *is);
bool imports_is_idle(const struct imports *is);
struct imports *imports_free(struct imports *is); /* idle only; returns NULL */
struct imports_stats {
	uint64_t n_running, n_done, n_failed, bytes, n_reflinked;
};
/* imports_set_limits - for imports that begin from now on */
void imports_set_limits(struct imports *is, unsigned max_imports, uint64_t room_wait_ns);
struct imports_stats imports_get_stats(const struct imports *is);
const struct labels *imports_labels(const struct imports *is);
struct histogram;
struct labels;
const struct histogram *imports_durations(const struct imports *is); /* of those that succeeded */

struct import_want {
	int fd; /* open for reading; owned by the import from now on */
	const char *content; /* text that makes the id, NULL = the file does */
	const char *tag, *application; /* NULL = absent */
	uint64_t piece_length; /* 0 = chosen by the length */
	uint64_t replicas; /* wanted, this copy included; at least 1 */
	uint64_t ttl_ns; /* 0 = never expires */
	uid_t uid; /* the importer */
	const char *trace; /* goes on to the scheduler; NULL = none */
};

struct import_result {
	char id[TASK_ID_SIZE];
	uint64_t length, ttl_ns, replicas_wanted, replicas_persistent, replicas_all;
	uint32_t piece_length, n_pieces;
	int64_t created_ns, updated_ns;
	const char *state;
};

/* import_start - fn once, from the loop; @r only with RPC_OK, during the call. NULL: out of memory
 * or too many (then fn is not called, and the descriptor is closed). */
struct import *import_start(struct imports *is, const struct import_want *want,
	void (*fn)(void *arg, const struct outcome *why, const struct import_result *r), void *arg);
/* import_cancel - fn is not called any more; what was written is dropped */
void import_cancel(struct import *i);

#endif
