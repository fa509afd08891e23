/* SPDX-License-Identifier: GPL-2.0-or-later */
/* convert.h — well-known types to nanoseconds and back; metadata values to numbers. Pure.
 */
#ifndef P2P_API_CONVERT_H
#define P2P_API_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/timestamp.pb-c.h"

/* api_duration_ns - 0 for NULL; false: negative, or beyond 584 years, or nanos out of range */
bool api_duration_ns(const Google__Protobuf__Duration *d, uint64_t *ns);
void api_set_duration(Google__Protobuf__Duration *d, uint64_t ns); /* also initialises */
/* api_timestamp_ns - since the Epoch, 0 for NULL or a time before */
uint64_t api_timestamp_ns(const Google__Protobuf__Timestamp *t);
void api_set_timestamp(Google__Protobuf__Timestamp *t, uint64_t ns);

/* 32 hex digits in any case; false: not that */
bool api_parse_fingerprint(const char *text, uint8_t out[16]);
void api_format_fingerprint(const uint8_t f[16], char out[33]);

/* api_parse_traceparent - W3C Trace Context, version 00 in form: "00-" 32 hex digits "-" 16 "-" 2, lower
 * case. Copied to @out, which is "" when @text (may be NULL) is not that. */
#define API_TRACE_SIZE 56
bool api_parse_traceparent(const char *text, char out[API_TRACE_SIZE]);

#endif
