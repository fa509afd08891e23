/* SPDX-License-Identifier: GPL-2.0-or-later */
/* transfer.h — one file into the cache, one task out of it: the request, the descriptor that goes
 * with it, what comes back, and the output made whole. Used for one file and, many at once, for trees.
 *
 * Asynchronous on the client's loop. The owner keeps the job and all it points to until done().
 */
#ifndef DFCACHE_TRANSFER_H
#define DFCACHE_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/regfile.h"
#include "dfcache/client.h"
#include "dfcache/event.h"
#include "dfcache/progress.h"
#include "dfcache/report.h"
#include "dfcache/writer.h"

#define TASK_ID_MAX 128 /* longer ones of a daemon are refused */

struct import_job {
	/* what to do */
	const char *path; /* absolute; only told to the daemon, which reads @fd */
	int fd; /* owned: the source, open for reading; closed when done */
	const char *content_for_id, *tag, *application; /* NULL = absent */
	uint64_t piece_length; /* 0 = the daemon chooses */
	uint64_t replicas, ttl_ns, timeout_ns;
	void (*done)(struct import_job *j);
	void *owner;
	/* what came of it */
	struct failure failure;
	char id[TASK_ID_MAX + 1];
	uint64_t length, task_piece_length, n_pieces;
	uint64_t replicas_now; /* counted replicas when the import ended */
	/* private */
	struct call call;
};

/* import_start - a failure to start comes as done() from within; else done() from the loop */
void import_start(struct client *cl, struct import_job *j);

enum export_mode {
	EXPORT_DESCRIPTOR, /* the daemon writes into our open file */
	EXPORT_CONTENT, /* the content comes over the socket */
	EXPORT_HARD_LINK, /* the daemon makes a link of its own file */
};

struct export_job {
	/* what to do */
	const char *id, *output; /* output: absolute */
	enum export_mode mode;
	bool overwrite;
	bool is_sink; /* EXPORT_CONTENT only: write to @sink (borrowed), place nothing */
	int sink;
	const char *tag, *application; /* "" = present but empty */
	const char *digest; /* canonical; NULL = none */
	uint64_t timeout_ns;
	struct progress *progress; /* may be shared by many jobs; its total is added to */
	void (*done)(struct export_job *j);
	void *owner;
	/* what came of it */
	struct failure failure;
	uint64_t length;
	char placed[16]; /* "reflink", "copy", "hardlink", "content", "daemon" */
	uint64_t local_bytes, peer_bytes;
	/* private */
	struct call call;
	struct regfile_new file;
	struct event_reader events;
	struct writer_file out;
	bool has_length;
	/* of the piece whose content is arriving */
	uint32_t number, crc32;
	uint64_t content_at;
	bool is_new; /* not one that came before */
	uint64_t received; /* bytes of content written, each piece once */
	uint8_t *pieces; /* bits of the pieces written */
	uint64_t n_piece_bits;
};

/* export_start - as import_start; the output is there, whole, when done() finds no failure */
void export_start(struct client *cl, struct export_job *j);

#endif
