/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dfcache/exit.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/rpc/rpc.h"

/* from_words - the other daemon's own renderings of an inner status, and of its file errors */
static enum exit_status from_words(const char *message)
{
	static const struct {
		const char *words;
		enum exit_status status;
	} known[] = {
		{"no space left on device", EXIT_NO_SPACE},
		{"not enough space", EXIT_NO_SPACE},
		{"No space left on device", EXIT_NO_SPACE},
		{"digest mismatch", EXIT_CORRUPT},
		{"invalid digest", EXIT_INVALID},
		{"already exist", EXIT_EXISTS},
		{"AlreadyExists", EXIT_EXISTS},
		{"Permission denied", EXIT_DENIED},
		{"Some requested entity was not found", EXIT_NOT_FOUND},
		{"NotFound", EXIT_NOT_FOUND},
		{"not found", EXIT_NOT_FOUND},
		{"No such file or directory", EXIT_NOT_FOUND},
		{"specified an invalid argument", EXIT_INVALID},
		{"InvalidArgument", EXIT_INVALID},
		{"deadline", EXIT_TIMEOUT},
		{"Timeout expired", EXIT_TIMEOUT},
		{"currently unavailable", EXIT_UNAVAILABLE},
		{"transport error", EXIT_UNAVAILABLE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strstr(message, known[i].words))
			return known[i].status;
	return EXIT_FAILED;
}

enum exit_status exit_from_status(int status, const char *message)
{
	switch (status) {
	case RPC_OK:
		return EXIT_OK;
	case RPC_INVALID_ARGUMENT:
	case RPC_OUT_OF_RANGE:
	case RPC_FAILED_PRECONDITION:
	case RPC_UNIMPLEMENTED:
		return EXIT_INVALID;
	case RPC_NOT_FOUND:
		return EXIT_NOT_FOUND;
	case RPC_RESOURCE_EXHAUSTED:
		return EXIT_NO_SPACE;
	case RPC_DEADLINE_EXCEEDED:
		return EXIT_TIMEOUT;
	case RPC_UNAVAILABLE:
		return EXIT_UNAVAILABLE;
	case RPC_PERMISSION_DENIED:
	case RPC_UNAUTHENTICATED:
		return EXIT_DENIED;
	case RPC_DATA_LOSS:
		return EXIT_CORRUPT;
	case RPC_ALREADY_EXISTS:
		return EXIT_EXISTS;
	default:
		return from_words(message);
	}
}

enum exit_status exit_from_errno(int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
		return EXIT_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return EXIT_DENIED;
	case ENOSPC:
	case EDQUOT:
		return EXIT_NO_SPACE;
	case EEXIST:
		return EXIT_EXISTS;
	case EISDIR:
	case EMEDIUMTYPE:
	case ELOOP:
	case ENAMETOOLONG:
		return EXIT_INVALID;
	default:
		return EXIT_FAILED;
	}
}
