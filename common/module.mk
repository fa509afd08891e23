# SPDX-License-Identifier: GPL-2.0-or-later
# common/: knows no product words. libcommon: everything but rpc; librpc: gRPC; the ring back end is
# in libcommon too and linked only by programs that name it.
COMMON_SRC := $(filter-out common/rpc/%,$(wildcard common/*.c))
RPC_SRC := $(wildcard common/rpc/*.c)
define MODULE_RULES +=
$(call archive,common,$(COMMON_SRC))

$(call archive,rpc,$(RPC_SRC))

endef
