/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dfdaemon.yaml, and after a NUL byte dynconfig.yaml: an outcome that our own parser takes, or a sentence */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "p2p/convert/convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	size_t n = nul ? (size_t)(nul - data) : size;
	struct convert_result r;
	int e = convert_run(&r, (const char *)data, n, nul ? (const char *)nul + 1 : NULL,
		nul ? size - n - 1 : 0);

	if (e == -EINVAL && !strstr(buf_str(&r.report), "wrong"))
		abort();
	convert_fini(&r);
	return 0;
}
