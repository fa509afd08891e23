/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "p2p/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void outcome_set(struct outcome *o, int status, const char *fmt, ...)
{
	char text[STATUS_TEXT];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= STATUS_TEXT) { /* do not end inside a sequence */
		n = STATUS_TEXT - 1;
		while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
			n--;
		text[n] = 0;
	}
	o->status = status;
	snprintf(o->text, sizeof(o->text), "%s", text); /* @fmt's arguments may be o->text */
}

int status_from_store(enum store_status s)
{
	switch (s) {
	case STORE_OK:
	case STORE_EXISTS_SAME:
		return RPC_OK;
	case STORE_EXISTS_DIFFERENT:
		return RPC_ALREADY_EXISTS;
	case STORE_NOT_FOUND:
		return RPC_NOT_FOUND;
	case STORE_NO_SPACE:
	case STORE_LIMIT:
		return RPC_RESOURCE_EXHAUSTED;
	case STORE_DENIED:
		return RPC_PERMISSION_DENIED;
	case STORE_INVALID:
		return RPC_INVALID_ARGUMENT;
	case STORE_BUSY:
	case STORE_BUSY_WRITER:
		return RPC_ABORTED;
	case STORE_CORRUPT:
		return RPC_DATA_LOSS;
	case STORE_IO:
		return RPC_INTERNAL;
	case STORE_LOST:
	case STORE_TIMEOUT:
		return RPC_UNAVAILABLE;
	}
	return RPC_INTERNAL;
}

int status_from_errno(int error)
{
	switch (error) {
	case 0:
		return RPC_OK;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return RPC_RESOURCE_EXHAUSTED;
	case EACCES:
	case EPERM:
	case EROFS:
		return RPC_PERMISSION_DENIED;
	case ENOENT:
	case ESTALE:
		return RPC_NOT_FOUND;
	case EEXIST:
		return RPC_ALREADY_EXISTS;
	case ECANCELED:
		return RPC_CANCELLED;
	case EIO:
	case ENODATA:
	case EBADMSG:
		return RPC_DATA_LOSS;
	case EINVAL:
	case EBADF:
	case EISDIR:
		return RPC_INVALID_ARGUMENT;
	}
	return RPC_INTERNAL;
}
