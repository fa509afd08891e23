/* SPDX-License-Identifier: GPL-2.0-or-later */
/* task_id.c — see task_id.h */
#include "p2p/task_id.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/wire.h"

#define TYPE_SUFFIX   "PERSISTENT_CACHE"
#define SHA256_PREFIX "sha256:"

/* suffix_parts - what follows the file's bytes in the hash, in order */
#define N_SUFFIX_PARTS 4
static void suffix_parts(
	const struct task_id_inputs *in, char piece_length[24], const char *parts[N_SUFFIX_PARTS])
{
	piece_length[0] = 0;
	if (in->has_piece_length)
		snprintf(piece_length, 24, "%" PRIu64, in->piece_length);
	parts[0] = in->tag ? in->tag : "";
	parts[1] = in->application ? in->application : "";
	parts[2] = piece_length;
	parts[3] = TYPE_SUFFIX;
}

void task_id_crc32(const struct task_id_inputs *in, uint32_t file_crc, char out[TASK_ID_SIZE])
{
	const char *parts[N_SUFFIX_PARTS];
	char number[24];
	uint32_t crc;

	if (in->content) {
		crc = digest_crc32(0, in->content, strlen(in->content));
	} else {
		crc = file_crc;
		suffix_parts(in, number, parts);
		for (int i = 0; i < N_SUFFIX_PARTS; i++)
			crc = digest_crc32(crc, parts[i], strlen(parts[i]));
	}
	snprintf(out, TASK_ID_SIZE, "%" PRIu32, crc);
}

static int take_hex(struct digest *d, char out[TASK_ID_SIZE])
{
	const size_t prefix = strlen(SHA256_PREFIX);
	char text[DIGEST_TEXT];

	digest_final(d, text);
	if (strncmp(text, SHA256_PREFIX, prefix) || strlen(text) != prefix + TASK_ID_SIZE - 1)
		return -EINVAL;
	memcpy(out, text + prefix, TASK_ID_SIZE);
	return 0;
}

int task_id_sha256(const struct task_id_inputs *in, struct digest *file, char out[TASK_ID_SIZE])
{
	const char *parts[N_SUFFIX_PARTS];
	char number[24];

	if (in->content) {
		struct digest *d = digest_new(DIGEST_SHA256);
		int r;

		if (!d)
			return -ENOMEM;
		digest_update(d, in->content, strlen(in->content));
		r = take_hex(d, out);
		digest_free(d);
		return r;
	}
	if (!file)
		return -EINVAL;
	suffix_parts(in, number, parts);
	for (int i = 0; i < N_SUFFIX_PARTS; i++)
		digest_update(file, parts[i], strlen(parts[i]));
	return take_hex(file, out);
}

bool task_id_is_valid(const char *id)
{
	size_t n = strspn(id, "0123456789"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			      "abcdefghijklmnopqrstuvwxyz._-");

	return n > 0 && n < TASK_ID_SIZE && !id[n] && id[0] != '.';
}

/* struct fingerprint is the hash it runs */
static struct digest_xxh3 *hash_of(struct fingerprint *f)
{
	return (struct digest_xxh3 *)f;
}

struct fingerprint *fingerprint_new(uint64_t length, uint32_t piece_length)
{
	struct digest_xxh3 *x = digest_xxh3_new();
	uint8_t head[12];
	struct wire_wr w = wire_wr(head, sizeof(head));

	if (!x)
		return NULL;
	wire_put_u64le(&w, length);
	wire_put_u32le(&w, piece_length);
	digest_xxh3_update(x, head, sizeof(head));
	return (struct fingerprint *)x;
}

void fingerprint_piece(struct fingerprint *f, uint32_t crc32, struct digest_128 xxh3)
{
	uint8_t row[20];
	struct wire_wr w = wire_wr(row, sizeof(row));

	wire_put_u32le(&w, crc32);
	wire_put_u64le(&w, xxh3.lo);
	wire_put_u64le(&w, xxh3.hi);
	digest_xxh3_update(hash_of(f), row, sizeof(row));
}

void fingerprint_final(struct fingerprint *f, uint8_t out[16])
{
	struct digest_128 h = digest_xxh3_final(hash_of(f));
	struct wire_wr w = wire_wr(out, 16);

	wire_put_u64le(&w, h.lo);
	wire_put_u64le(&w, h.hi);
}

struct fingerprint *fingerprint_free(struct fingerprint *f)
{
	digest_xxh3_free(hash_of(f));
	return NULL;
}

void host_id_make(const char *ip, const char *hostname, char out[HOST_ID_SIZE])
{
	snprintf(out, HOST_ID_SIZE, "%.45s-%.255s", ip, hostname);
}

void peer_id_make(const char *ip, const char *hostname, char out[PEER_ID_SIZE])
{
	uint8_t u[16];

	/* cannot fail for so few bytes once the pool is ready, and it waits for that */
	while (getrandom(u, sizeof(u), 0) != (ssize_t)sizeof(u))
		;
	u[6] = (u[6] & 0x0f) | 0x40; /* version 4 */
	u[8] = (u[8] & 0x3f) | 0x80; /* RFC 9562 variant */
	snprintf(out, PEER_ID_SIZE,
		"%.45s-%.255s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		ip, hostname, u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10],
		u[11], u[12], u[13], u[14], u[15]);
}
