/* SPDX-License-Identifier: GPL-2.0-or-later */
/* broker/serve.h — one connection, one task: read the request, become the caller, open or link,
 * answer; an output is held until it is to be placed or the connection ends.
 *
 * The process has changed who it is when this returns and must end. Called in a process of its own.
 */
#ifndef P2P_BROKER_SERVE_H
#define P2P_BROKER_SERVE_H

/* broker_serve - @conn: a connected SOCK_SEQPACKET socket (borrowed). 0, or -errno when the
 * connection itself failed; a refused request is an answer, not an error. */
int broker_serve(int conn);

#endif
