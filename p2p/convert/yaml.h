/* SPDX-License-Identifier: GPL-2.0-or-later */
/* yaml.h — a YAML document as a flat list: "upload.server.port" = "4000", items of sequences as "proxy.rules[0].regex".
 * By libyaml's events; no tags, anchors, aliases or second documents, bounded in depth and number. Pure.
 */
#ifndef P2P_CONVERT_YAML_H
#define P2P_CONVERT_YAML_H

#include <stdbool.h>
#include <stddef.h>

#define YAML_SIZE_MAX  (1u << 20)
#define YAML_DEPTH_MAX 32
#define YAML_ITEMS_MAX 4096
#define YAML_PATH_MAX  512
#define YAML_REASON    200

struct yaml_item {
	char *path, *value; /* value "": a key without one, or an empty list or map */
	size_t line; /* from 1 */
	bool is_used; /* the caller's */
};

struct yaml {
	struct yaml_item *items; /* in the order of the file */
	size_t n, cap;
};

/* yaml_parse - 0, or -EINVAL with @reason (YAML_REASON bytes; names the line), or -ENOMEM */
int yaml_parse(struct yaml *y, const char *text, size_t len, char *reason);
void yaml_fini(struct yaml *y);
/* yaml_find - NULL when it is not there */
struct yaml_item *yaml_find(const struct yaml *y, const char *path);

#endif
