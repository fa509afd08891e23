/* SPDX-License-Identifier: GPL-2.0-or-later */
/* num.h — strict text to numbers: the whole string is the number, or it is an error.
 *
 * Pure. All return 0, or -EINVAL (not the grammar), or -ERANGE (the grammar, but too large for the
 * type). On error @reason (may be NULL, else at least NUM_REASON bytes) gets a phrase that says
 * what is wrong and what would be right; the output is untouched.
 */
#ifndef COMMON_NUM_H
#define COMMON_NUM_H

#include <stddef.h>
#include <stdint.h>

#define NUM_REASON 160

/* num_u64 - decimal digits only, min..max */
int num_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out, char *reason);
/* num_size - byte sizes as bytesize 1.3.3 takes them (dfcache-cli.md §4.2): "4194304", "4MiB",
 * "4.5 gib", "64M" (= 64 000 000); units in any case */
int num_size(const char *text, uint64_t *bytes, char *reason);
/* num_duration - as humantime takes them (dfcache-cli.md §4.1): "1h30m", "7d", "90 sec", "1.5h".
 * Decimal fractions and a bare "0" are accepted (humantime 2.4). */
int num_duration(const char *text, uint64_t *ns, char *reason);
/* num_percent - "0%".."100%", digits then '%' */
int num_percent(const char *text, unsigned *pct, char *reason);

/* Formatting into @out of @cap bytes; returns @out. */
#define NUM_TEXT 64
/* "512 B", "1.0 kiB", "4.0 MiB" exactly as bytesize 1.3.3 prints (its quirks included) */
char *num_format_size(uint64_t bytes, char *out, size_t cap);
/* "1h 30m", "7days", "0s" as humantime prints; whole seconds and below as needed */
char *num_format_duration(uint64_t ns, char *out, size_t cap);

#endif
