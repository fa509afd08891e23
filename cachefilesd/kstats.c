// SPDX-License-Identifier: GPL-2.0-or-later
#include "cachefilesd/kstats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool kstats_parse_space(const char *text, struct kstats_space *out)
{
	const char *line = strstr(text, "NoSpace");
	struct kstats_space s;

	line = line ? strstr(line, "nwr=") : NULL;
	if (!line || sscanf(line, "nwr=%" SCNu64 " ncr=%" SCNu64 " cull=%" SCNu64,
			     &s.n_writes_refused, &s.n_creates_refused, &s.n_culled) != 3)
		return false;
	*out = s;
	return true;
}
