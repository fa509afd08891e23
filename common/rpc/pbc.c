/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pbc.c — see pbc.h */
#include "common/rpc/pbc.h"

#include <errno.h>
#include <string.h>

#include "common/buf.h"
#include "common/utf8.h"

/* The schemas are not recursive; a depth that none reaches guards the walk all the same. */
#define MAX_DEPTH 32

static size_t scalar_size(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_ENUM:
		return 4;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return 0;
	}
}

static bool is_nonzero(const ProtobufCFieldDescriptor *f, const void *member)
{
	static const uint8_t zero[8];

	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)member)->len;
	return memcmp(member, zero, scalar_size(f->type)) != 0;
}

/* is_chosen - false for a member of a oneof that is not the one set: its memory is another's */
static bool is_chosen(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	uint32_t which;

	if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return true;
	memcpy(&which, (const char *)m + f->quantifier_offset, sizeof(which));
	return which == f->id;
}

static void mark_present(ProtobufCMessage *m, unsigned depth)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	if (depth > MAX_DEPTH)
		return;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		char *member = (char *)m + f->offset;

		if (!is_chosen(m, f))
			continue;
		if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t n = *(size_t *)((char *)m + f->quantifier_offset);
			ProtobufCMessage **v = *(ProtobufCMessage ***)member;

			for (size_t k = 0; k < n; k++)
				mark_present(v[k], depth + 1);
		} else if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
			ProtobufCMessage *sub = *(ProtobufCMessage **)member;

			if (sub)
				mark_present(sub, depth + 1);
		} else if (f->type != PROTOBUF_C_TYPE_STRING &&
			   /* fields of proto3 files have label NONE and no has_ flag: their
			 * quantifier offset is 0, the descriptor's */
			   f->label == PROTOBUF_C_LABEL_OPTIONAL &&
			   !(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && is_nonzero(f, member)) {
			*(protobuf_c_boolean *)((char *)m + f->quantifier_offset) = 1;
		}
	}
}

static bool is_utf8(const ProtobufCMessage *m, unsigned depth)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	if (depth > MAX_DEPTH)
		return false;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const char *member = (const char *)m + f->offset;
		size_t n = 1;
		const void *const *v = (const void *const *)member;

		if (f->type != PROTOBUF_C_TYPE_STRING && f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (!is_chosen(m, f))
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			memcpy(&n, (const char *)m + f->quantifier_offset, sizeof(n));
			v = *(const void *const *const *)member;
		}
		for (size_t k = 0; k < n; k++) {
			if (!v[k])
				continue;
			if (f->type == PROTOBUF_C_TYPE_MESSAGE ? !is_utf8(v[k], depth + 1)
							       : !utf8_valid(v[k], strlen(v[k])))
				return false;
		}
	}
	return true;
}

int pbc_pack(ProtobufCMessage *m, struct buf *out)
{
	size_t n;
	uint8_t *p;

	mark_present(m, 0);
	n = protobuf_c_message_get_packed_size(m);
	p = buf_reserve(out, n);
	if (!p)
		return -ENOMEM;
	protobuf_c_message_pack(m, p);
	out->len += n;
	out->data[out->len] = 0;
	return 0;
}

void *pbc_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t n)
{
	ProtobufCMessage *m = protobuf_c_message_unpack(d, NULL, n, p);

	if (m && !is_utf8(m, 0)) {
		protobuf_c_message_free_unpacked(m, NULL);
		m = NULL;
	}
	return m;
}
