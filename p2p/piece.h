/* SPDX-License-Identifier: GPL-2.0-or-later */
/* piece.h — how content is cut into pieces. Pure. Source: dragonfly-p2p.md (b).
 */
#ifndef P2P_PIECE_H
#define P2P_PIECE_H

#include <stdint.h>

#define PIECE_LENGTH_MIN (4u << 20)
#define PIECE_LENGTH_MAX (64u << 20)
#define PIECE_TARGET     500u

/* piece_length_for - the automatic length: 4 MiB … 64 MiB, power of two, about 500 pieces */
uint32_t piece_length_for(uint64_t content_length);
/* piece_count - ceil(length / piece_length); UINT32_MAX when it does not fit */
uint32_t piece_count(uint64_t content_length, uint32_t piece_length);
uint64_t piece_offset(uint32_t number, uint32_t piece_length);
/* piece_size - bytes of piece @number; 0 when there is no such piece */
uint32_t piece_size(uint32_t number, uint64_t content_length, uint32_t piece_length);

#endif
