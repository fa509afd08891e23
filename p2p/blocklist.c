/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/blocklist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct blocklist {
	json_t *root; /* owns the arrays */
	json_t *tags[BLOCKLIST_N], *applications[BLOCKLIST_N];
};

/* member - @a in JSON as the manager writes it, or @b as in a configuration file */
static json_t *member(const json_t *o, const char *a, const char *b)
{
	json_t *v = json_object_get(o, a);

	return v ? v : json_object_get(o, b);
}

/* list - an array of strings; whatever else there is counts as absent */
static json_t *list(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key), *item;
	size_t i;

	if (!json_is_array(v))
		return NULL;
	json_array_foreach(v, i, item)
	{
		if (!json_is_string(item))
			return NULL;
	}
	return json_array_size(v) ? v : NULL;
}

int blocklist_parse(struct blocklist **out, const void *json, size_t n)
{
	struct blocklist *b;
	const json_t *tasks;

	*out = NULL;
	if (n > BLOCKLIST_JSON_MAX)
		return -E2BIG;
	if (!n)
		return 0;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->root = json_loadb(json, n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(b->root)) {
		blocklist_free(b);
		return -EINVAL;
	}
	tasks = member(member(b->root, "block_list", "blockList"), "persistent_cache_task",
		"persistentCacheTask");
	for (int k = 0; k < BLOCKLIST_N; k++) {
		const json_t *o =
			json_object_get(tasks, k == BLOCKLIST_DOWNLOAD ? "download" : "upload");

		b->tags[k] = list(o, "tags");
		b->applications[k] = list(o, "applications");
	}
	if (blocklist_n(b))
		*out = b;
	else
		blocklist_free(b);
	return 0;
}

struct blocklist *blocklist_free(struct blocklist *b)
{
	if (b)
		json_decref(b->root);
	free(b);
	return NULL;
}

static bool contains(const json_t *array, const char *text)
{
	json_t *item;
	size_t i;

	if (!text)
		return false;
	json_array_foreach(array, i, item)
	{
		if (strlen(text) == json_string_length(item) &&
			!memcmp(text, json_string_value(item), strlen(text)))
			return true;
	}
	return false;
}

bool blocklist_has(const struct blocklist *b, enum blocklist_kind kind, const char *tag,
	const char *application)
{
	return b && (contains(b->tags[kind], tag) || contains(b->applications[kind], application));
}

size_t blocklist_n(const struct blocklist *b)
{
	size_t n = 0;

	for (int k = 0; b && k < BLOCKLIST_N; k++)
		n += json_array_size(b->tags[k]) + json_array_size(b->applications[k]);
	return n;
}

bool blocklist_equal(const struct blocklist *a, const struct blocklist *b)
{
	return !a == !b && (!a || json_equal(a->root, b->root));
}
