/* SPDX-License-Identifier: GPL-2.0-or-later */
/* piece.c — see piece.h */
#include "p2p/piece.h"

uint32_t piece_length_for(uint64_t content_length)
{
	uint64_t wanted = content_length / PIECE_TARGET;
	uint32_t length = PIECE_LENGTH_MIN;

	while (length < wanted && length < PIECE_LENGTH_MAX)
		length *= 2;
	return length;
}

uint32_t piece_count(uint64_t content_length, uint32_t piece_length)
{
	uint64_t n;

	if (!content_length)
		return 0;
	if (!piece_length)
		return UINT32_MAX;
	n = (content_length - 1) / piece_length + 1;
	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

uint64_t piece_offset(uint32_t number, uint32_t piece_length)
{
	return (uint64_t)number * piece_length;
}

uint32_t piece_size(uint32_t number, uint64_t content_length, uint32_t piece_length)
{
	uint64_t offset = piece_offset(number, piece_length);

	if (offset >= content_length)
		return 0;
	return content_length - offset < piece_length ? (uint32_t)(content_length - offset)
						      : piece_length;
}
