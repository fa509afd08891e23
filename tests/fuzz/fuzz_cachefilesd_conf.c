/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_cachefilesd_conf.c — any text as cachefilesd.conf: every refusal names file and line */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cachefilesd/config.h"
#include "common/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf errors = {0}, warnings = {0};
	char reason[LIMITS_REASON];
	struct config c;
	int n = config_parse("F", (const char *)data, size, &c, &errors, &warnings);
	int lines = 0;

	for (size_t i = 0; i < errors.len; i++)
		lines += errors.data[i] == '\n';
	if (n < 0 || (n > 0) != (lines > 0) || (n && strncmp(buf_str(&errors), "F:", 2) != 0))
		abort();
	if (!n &&
		(!c.dir || limits_check(&c.limits, reason) || c.culltable < 12 || c.culltable > 20))
		abort();
	config_fini(&c);
	buf_fini(&errors);
	buf_fini(&warnings);
	return 0;
}
