# SPDX-License-Identifier: GPL-2.0-or-later
# common/: knows no product words. libcommon: everything but rpc; librpc: gRPC; the ring back end is
# in libcommon too and linked only by programs that name it.
COMMON_SRC := $(filter-out common/rpc/%,$(wildcard common/*.c))
RPC_PROTO := $(wildcard common/rpc/*.proto)
RPC_SRC := $(wildcard common/rpc/*.c) $(patsubst %.proto,%.pb-c.c,$(RPC_PROTO))
GENERATED += $(patsubst %.proto,$(B)/gen/%.pb-c.h,$(RPC_PROTO))
define MODULE_RULES +=
$(call archive,common,$(COMMON_SRC))

$(call archive,rpc,$(RPC_SRC))

endef
