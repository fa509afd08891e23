// SPDX-License-Identifier: GPL-2.0-or-later
/* The state line of the device: no bytes crash the parser, and what is refused leaves nothing. */
#include <stdlib.h>
#include <string.h>

#include "cachefilesd/kstate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kstate s;

	if (kstate_parse((const char *)data, size, &s) < 0) {
		if (s.is_bound || s.cull || s.n_released || s.thresholds.blocks.run)
			abort();
	} else if (s.cull && !s.is_bound) {
		abort();
	}
	return 0;
}
