/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_num.c — every text to every number; what was taken prints as something that is taken again */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[NUM_REASON], text[NUM_TEXT], canonical[DIGEST_TEXT], again[DIGEST_TEXT];
	char *s = malloc(size + 1);
	enum digest_algorithm a, b;
	uint64_t v, w;
	unsigned pct;

	if (!s)
		return 0;
	if (size)
		memcpy(s, data, size);
	s[size] = 0;
	if (num_u64(s, 3, 1u << 30, &v, reason) == 0 && (v < 3 || v > 1u << 30))
		abort();
	if (num_size(s, &v, reason) == 0)
		num_format_size(v, text, sizeof(text));
	if (num_duration(s, &v, reason) == 0) {
		num_format_duration(v, text, sizeof(text));
		if (num_duration(text, &w, reason) || v != w)
			abort();
	}
	if (num_percent(s, &pct, reason) == 0 && pct > 100)
		abort();
	if (digest_parse(s, &a, canonical, reason) == 0 &&
		(digest_parse(canonical, &b, again, reason) || a != b || strcmp(canonical, again)))
		abort();
	(void)log_level_parse(s);
	free(s);
	return 0;
}
