/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pbc.h — protobuf-c with proto3 habits: our schemas are proto2 syntax (dependencies.md §3.2), so a
 * non-zero scalar must have its has_ flag set before packing.
 */
#ifndef COMMON_RPC_PBC_H
#define COMMON_RPC_PBC_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

struct buf;

/* pbc_pack - set has_x on every non-zero scalar (recursively; only OPTIONAL fields outside oneofs),
 * then append the packed bytes to @out. An explicit zero needs has_x set by the caller.
 * 0 or -ENOMEM. */
int pbc_pack(ProtobufCMessage *m, struct buf *out);
/* pbc_unpack - NULL when @p is not this message, or a string field is not UTF-8.
 * Free with protobuf_c_message_free_unpacked(). */
void *pbc_unpack(const ProtobufCMessageDescriptor *d, const uint8_t *p, size_t n);

#endif
