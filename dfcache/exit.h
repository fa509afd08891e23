/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exit.h — what the exit status of dfcache says; the manual's EXIT STATUS is this list.
 */
#ifndef DFCACHE_EXIT_H
#define DFCACHE_EXIT_H

enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1, /* none of the others */
	EXIT_USAGE = 2, /* command line, environment or configuration file */
	EXIT_INVALID = 3, /* a value or a path that cannot be right, or that the daemon refuses */
	EXIT_NOT_FOUND = 4, /* no such task, no such source file */
	EXIT_NO_SPACE = 5,
	EXIT_TIMEOUT = 6,
	EXIT_UNAVAILABLE = 7, /* no daemon, no scheduler, no peer that has it */
	EXIT_DENIED = 8,
	EXIT_CORRUPT = 9, /* digest or content does not match */
	EXIT_EXISTS = 10, /* the output, or another content under the same id */
	/* 128 + signal: interrupted */
};

/* exit_from_status - of a gRPC status; @message helps where another daemon folds everything into
 * INTERNAL or UNKNOWN and says the truth in words only. Pure. */
enum exit_status exit_from_status(int status, const char *message);
/* exit_from_errno - of a failed system call on a file of the caller */
enum exit_status exit_from_errno(int error);

#endif
