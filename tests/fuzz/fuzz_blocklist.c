/* SPDX-License-Identifier: GPL-2.0-or-later */
/* the manager's client_config: whatever it is, questions have answers */
#include <stdint.h>
#include <stdlib.h>

#include "p2p/blocklist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blocklist *b;

	if (blocklist_parse(&b, data, size) < 0)
		return b ? (abort(), 0) : 0;
	if (!b != !blocklist_n(b) || !blocklist_equal(b, b))
		abort();
	blocklist_has(b, BLOCKLIST_UPLOAD, "a", "b");
	blocklist_has(b, BLOCKLIST_DOWNLOAD, NULL, "");
	blocklist_free(b);
	return 0;
}
