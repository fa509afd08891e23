/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status.h — how a journey ended: a gRPC status and a sentence for the user. Pure. */
#ifndef P2P_STATUS_H
#define P2P_STATUS_H

#include "cachefilesd/api/store.h"
#include "common/rpc/rpc.h"

#define STATUS_TEXT 512

struct outcome {
	int status; /* enum rpc_status */
	char text[STATUS_TEXT]; /* "" with RPC_OK */
};

/* outcome_set - text is cut at the end of a UTF-8 sequence if it does not fit */
void outcome_set(struct outcome *o, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* status_from_store / status_from_errno (@error positive) - what a failure there means to a caller */
int status_from_store(enum store_status s);
int status_from_errno(int error);

#endif
