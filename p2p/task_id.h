/* SPDX-License-Identifier: GPL-2.0-or-later */
/* task_id.h — ids of tasks, hosts and peers; the fingerprint. Pure. Source: dragonfly-p2p.md (a).
 */
#ifndef P2P_TASK_ID_H
#define P2P_TASK_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/digest.h"

#define TASK_ID_SIZE 65 /* 64 characters and NUL */

enum task_id_form { TASK_ID_CRC32, TASK_ID_SHA256 };

struct task_id_inputs {
	const char *content; /* --content-for-calculating-task-id; NULL = the file's bytes count */
	const char *tag, *application; /* NULL = absent */
	bool has_piece_length; /* only when the caller gave one */
	uint64_t piece_length;
};

/* What is hashed: the content text alone if there is one, else the file's bytes, tag, application,
 * piece length in decimal and "PERSISTENT_CACHE", with nothing in between.
 *
 * task_id_crc32 - decimal; @file_crc is the CRC-32 of the whole file (not used with content text) */
void task_id_crc32(const struct task_id_inputs *in, uint32_t file_crc, char out[TASK_ID_SIZE]);
/* task_id_sha256 - hex. @file is a DIGEST_SHA256 stream that was fed the whole file; the rest is fed
 * here and it is finished (still the caller's to free). With content text it is not used and may be
 * NULL. 0, -ENOMEM, or -EINVAL when @file is needed and is not such a stream. */
int task_id_sha256(const struct task_id_inputs *in, struct digest *file, char out[TASK_ID_SIZE]);
/* task_id_is_valid - what may name a task on the wire and on the disk: 1..64 of [0-9A-Za-z._-],
 * not starting with '.' */
bool task_id_is_valid(const char *id);

/* The fingerprint: 128 bits over length, piece length, and per piece crc32 and xxh3-128, little
 * endian (of 128 bits the low half first), hashed by xxh3-128. Pieces are fed in number order. */
struct fingerprint;
struct fingerprint *fingerprint_new(
	uint64_t length, uint32_t piece_length); /* NULL: out of memory */
void fingerprint_piece(struct fingerprint *f, uint32_t crc32, struct digest_128 xxh3);
void fingerprint_final(struct fingerprint *f, uint8_t out[16]);
struct fingerprint *fingerprint_free(struct fingerprint *f); /* returns NULL */

/* host_id - "<ip>-<hostname>"; peer_id - "<ip>-<hostname>-<uuid v4>" (random from getrandom).
 * A host name that does not fit is cut; none that the system allows is that long. */
#define HOST_ID_SIZE 320
#define PEER_ID_SIZE 360
void host_id_make(const char *ip, const char *hostname, char out[HOST_ID_SIZE]);
void peer_id_make(const char *ip, const char *hostname, char out[PEER_ID_SIZE]);

#endif
