/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http.h — a few fixed pages for probes and scrapers: GET and HEAD, one request a connection.
 *
 * Not a web server: no body is read, nothing is kept alive, a request has at most HTTP_REQUEST_MAX
 * bytes and HTTP_TIMEOUT_NS to arrive, at most HTTP_CONNECTIONS are open. On the loop's thread.
 * Source: RFC 9112 §2 to §4, as far as a scraper needs it.
 */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct loop;
struct http_server;

#define HTTP_REQUEST_MAX 4096
#define HTTP_CONNECTIONS 16
#define HTTP_TIMEOUT_NS  UINT64_C(5000000000)

/* http_parse - the head of a request (up to and including the empty line). Pure.
 * Returns the status to answer with: 200 and *path (in @p, @path_len bytes, the query cut off), 400
 * not a request, 405 another method, 505 not HTTP/1.x; *is_head for HEAD. 0: the head is not whole
 * yet (the caller knows how much it wants to wait for). */
int http_parse(const char *p, size_t n, const char **path, size_t *path_len, bool *is_head);

/* page - fill @body for @path; 200, 404, or 503 (the body is sent then too). *type is the content
 * type, text/plain at first. */
typedef int (*http_page_fn)(
	void *arg, const char *path, size_t path_len, struct buf *body, const char **type);

/* http_server_new - serves @listen_fd (non-blocking; owned from success on). 0 or -errno */
int http_server_new(
	struct http_server **out, struct loop *l, int listen_fd, http_page_fn page, void *arg);
/* http_server_close - connections end; then @gone, once, from the loop; @s may not be used again */
void http_server_close(struct http_server *s, void (*gone)(void *arg), void *arg);

#endif
