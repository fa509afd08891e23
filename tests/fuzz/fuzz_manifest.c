/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_manifest.c — what is accepted stays below the output directory and is written the same again */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "dfcache/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct manifest m;
	char why[160] = "";

	if (manifest_parse(&m, (const char *)p, n, why) < 0)
		return 0;
	{
		_cleanup_buf_ struct buf again = {0};

		manifest_encode(&m, &again);
		if (again.len != n || memcmp(again.data, p, n) != 0)
			abort();
	}
	for (size_t i = 0; i < m.n; i++)
		if (!manifest_path_is_safe(m.entries[i].path))
			abort();
	manifest_fini(&m);
	return 0;
}
