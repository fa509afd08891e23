// SPDX-License-Identifier: GPL-2.0-or-later
/* Names of the cache tree: any bytes that readdir could yield; decoded text stays in its bounds. */
#include <stdlib.h>
#include <stdint.h>
#include <string.h>

#include "cachefilesd/objname.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cap = size ? data[0] : 0, len;
	char *name, *out;

	if (!size)
		return 0;
	len = strnlen((const char *)data + 1, size - 1);
	name = malloc(len + 1);
	out = malloc(cap ? cap : 1);
	if (!name || !out)
		abort();
	memcpy(name, data + 1, len);
	name[len] = '\0';
	for (int t = OBJNAME_REG; t <= OBJNAME_OTHER; t++)
		if (objname_classify(name, (enum objname_type)t) == OBJNAME_OBJECT &&
			(t == OBJNAME_OTHER || !strchr("DEST", name[0])))
			abort();
	if (objname_is_fanout(name) && len != 3)
		abort();
	if (objname_decode(name, out, cap) && strlen(out) >= cap)
		abort();
	free(out);
	free(name);
	return 0;
}
