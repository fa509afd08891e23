/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.h — gRPC's small texts: status codes from HTTP, grpc-message, grpc-timeout.
 * Pure. Protocol: grpc/doc/PROTOCOL-HTTP2.md, statuscodes.md, http-grpc-status-mapping.md.
 */
#ifndef COMMON_RPC_STATUS_H
#define COMMON_RPC_STATUS_H

#include <stddef.h>
#include <stdint.h>

struct buf;

/* status_from_http - for an answer that is not 200 and has no grpc-status */
int status_from_http(int http);
/* status_from_h2 - for a stream that was reset with an HTTP/2 error code */
int status_from_h2(uint32_t error_code);
/* status_parse - value of grpc-status; RPC_UNKNOWN when it is not a small decimal number */
int status_parse(const char *value);
/* status_message_encode - append @text percent-encoded: all but 0x20-0x7e, and '%' */
void status_message_encode(struct buf *out, const char *text);
/* status_message_decode - append @value decoded, fit for a log line: bytes that are not UTF-8
 * become '?', control characters a space; a broken escape stays as it is */
void status_message_decode(struct buf *out, const char *value);
/* status_timeout_parse - value of grpc-timeout (1 to 8 digits, one of H M S m u n); -EINVAL */
int status_timeout_parse(const char *value, uint64_t *ns);
/* status_timeout_format - the finest unit that fits 8 digits, rounded up */
#define STATUS_TIMEOUT_TEXT 16
char *status_timeout_format(uint64_t ns, char out[STATUS_TIMEOUT_TEXT]);

#endif
