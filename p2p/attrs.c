/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/attrs.h"

#include <errno.h>
#include <string.h>

#include "common/utf8.h"
#include "common/wire.h"

#define ATTRS_VERSION 1

enum attrs_key {
	KEY_TAG = 1,
	KEY_APPLICATION,
	KEY_REPLICAS_WANTED,
	KEY_CREATED_NS,
	KEY_EXPIRY_REVISION,
	KEY_PEER_ID,
	KEY_IMPORTER_HOST_ID,
	KEY_KEPT, /* no bytes */
};

_Static_assert(1 + 2 * (3 + ATTRS_TEXT_MAX) + 3 * (3 + 8) + 9 + PEER_ID_SIZE + HOST_ID_SIZE <=
		       ATTRS_ENCODED_MAX,
	"the longest attributes fit");

static int set_text(char *out, bool *has, const char *text)
{
	size_t n = text ? strlen(text) : 0;

	if (n > ATTRS_TEXT_MAX)
		return -EMSGSIZE;
	*has = text != NULL;
	memcpy(out, text ? text : "", n + 1);
	return 0;
}

int attrs_set_tag(struct task_attrs *a, const char *tag)
{
	return set_text(a->tag, &a->has_tag, tag);
}

int attrs_set_application(struct task_attrs *a, const char *application)
{
	return set_text(a->application, &a->has_application, application);
}

static void put_text(struct wire_wr *w, enum attrs_key key, const char *s)
{
	size_t n = strlen(s);

	wire_put_u8(w, key);
	wire_put_u16le(w, (uint16_t)n);
	wire_put(w, s, n);
}

static void put_u64(struct wire_wr *w, enum attrs_key key, uint64_t v)
{
	wire_put_u8(w, key);
	wire_put_u16le(w, 8);
	wire_put_u64le(w, v);
}

size_t attrs_encode(const struct task_attrs *a, uint8_t out[ATTRS_ENCODED_MAX])
{
	struct wire_wr w = wire_wr(out, ATTRS_ENCODED_MAX);

	wire_put_u8(&w, ATTRS_VERSION);
	if (a->has_tag)
		put_text(&w, KEY_TAG, a->tag);
	if (a->has_application)
		put_text(&w, KEY_APPLICATION, a->application);
	put_u64(&w, KEY_REPLICAS_WANTED, a->replicas_wanted);
	put_u64(&w, KEY_CREATED_NS, a->created_ns);
	put_u64(&w, KEY_EXPIRY_REVISION, a->expiry_revision);
	if (*a->peer_id)
		put_text(&w, KEY_PEER_ID, a->peer_id);
	if (a->kept)
		put_text(&w, KEY_KEPT, "");
	if (*a->importer_host_id)
		put_text(&w, KEY_IMPORTER_HOST_ID, a->importer_host_id);
	return ATTRS_ENCODED_MAX - w.left;
}

static bool get_text(const uint8_t *p, size_t n, char *out, size_t cap)
{
	if (n >= cap || !utf8_valid(p, n) || memchr(p, 0, n))
		return false;
	memset(out, 0, cap); /* a key may come twice, a longer text before a shorter */
	memcpy(out, p, n);
	return true;
}

static bool get_u64(const uint8_t *p, size_t n, uint64_t *out)
{
	struct wire_rd r = wire_rd(p, n);

	*out = wire_u64le(&r);
	return n == 8;
}

int attrs_parse(const uint8_t *p, size_t n, struct task_attrs *a)
{
	struct wire_rd r = wire_rd(p, n);

	memset(a, 0, sizeof(*a));
	if (!n)
		return 0;
	if (wire_u8(&r) != ATTRS_VERSION)
		return -ENOTSUP;
	while (r.left) {
		uint8_t key = wire_u8(&r);
		size_t len = wire_u16le(&r);
		const uint8_t *v = wire_skip(&r, len);
		bool ok = true;

		if (!v)
			return -EBADMSG;
		switch (key) {
		case KEY_TAG:
			ok = a->has_tag = get_text(v, len, a->tag, sizeof(a->tag));
			break;
		case KEY_APPLICATION:
			ok = a->has_application =
				get_text(v, len, a->application, sizeof(a->application));
			break;
		case KEY_REPLICAS_WANTED:
			ok = get_u64(v, len, &a->replicas_wanted);
			break;
		case KEY_CREATED_NS:
			ok = get_u64(v, len, &a->created_ns);
			break;
		case KEY_EXPIRY_REVISION:
			ok = get_u64(v, len, &a->expiry_revision);
			break;
		case KEY_PEER_ID:
			ok = get_text(v, len, a->peer_id, sizeof(a->peer_id));
			break;
		case KEY_KEPT:
			ok = a->kept = !len;
			break;
		case KEY_IMPORTER_HOST_ID:
			ok = get_text(v, len, a->importer_host_id, sizeof(a->importer_host_id));
			break;
		}
		if (!ok)
			return -EBADMSG;
	}
	return 0;
}
