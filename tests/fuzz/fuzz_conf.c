/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_conf.c — any text as an INI file; what was taken prints as something that means the same */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
	char *name, *peers;
	bool on;
	uint64_t port, size, wait;
	int mode;
};

static const char *const modes[] = {"auto", "ring", NULL};
#define AT(m) offsetof(struct target, m)
static const struct conf_option options[] = {
	{"a", "name", CONF_STRING, AT(name), .def = "here"},
	{"a", "on", CONF_BOOL, AT(on)},
	{"a", "port", CONF_U64, AT(port), .min = 1, .max = 65535, .def = "1"},
	{"b", "size", CONF_SIZE, AT(size), .min = 10},
	{"b", "wait", CONF_DURATION, AT(wait)},
	{"b", "mode", CONF_ENUM, AT(mode), .names = modes},
	{"b", "peers", CONF_LIST, AT(peers)},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t n = ARRAY_SIZE(options);
	struct conf_origin origins[ARRAY_SIZE(options)];
	struct buf errors = {0}, text = {0};
	struct target t;
	int r;

	if (conf_defaults(options, n, &t))
		return 0;
	r = conf_parse(options, n, &t, "f", (const char *)data, size, origins, &errors);
	if ((r > 0) != (errors.len > 0))
		abort(); /* an error without a sentence, or the other way round */
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct target u;

		if (!origins[i].line)
			continue;
		buf_fini(&text);
		conf_format(&options[i], &t, &text);
		if (conf_defaults(options, n, &u))
			continue;
		if (conf_set(&options[i], &u, buf_str(&text), NULL))
			abort();
		if (options[i].type == CONF_SIZE && u.size != t.size)
			abort();
		if (options[i].type == CONF_DURATION && u.wait != t.wait)
			abort();
		conf_fini(options, n, &u);
	}
	conf_fini(options, n, &t);
	buf_fini(&errors);
	buf_fini(&text);
	return 0;
}
