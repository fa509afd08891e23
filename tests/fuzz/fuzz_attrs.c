/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attributes of a task: what parses must encode to something that parses to the same */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "p2p/attrs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct task_attrs a, b;
	static uint8_t bytes[ATTRS_ENCODED_MAX];

	if (attrs_parse(data, size, &a) < 0)
		return 0;
	if (attrs_parse(bytes, attrs_encode(&a, bytes), &b) < 0 || memcmp(&a, &b, sizeof(a)) != 0)
		abort();
	return 0;
}
