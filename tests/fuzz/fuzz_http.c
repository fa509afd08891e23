/* SPDX-License-Identifier: GPL-2.0-or-later */
/* the head of an HTTP request: what is accepted lies inside the input and begins with a slash */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *path = NULL;
	size_t n = 0;
	bool is_head;

	if (http_parse(p, size, &path, &n, &is_head) == 200 &&
		(path < p || path + n > p + size || !n || *path != '/'))
		abort();
	return 0;
}
