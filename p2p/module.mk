# SPDX-License-Identifier: GPL-2.0-or-later
# p2p/: dfdaemon (libp2p + main.c), its broker, and api/ (schemas and method tables, dfcache may use)
P2P_PROTO := $(wildcard p2p/api/*.proto)
P2P_GEN := $(patsubst %.proto,$(B)/gen/%.pb-c.h,$(P2P_PROTO))
# the well-known types come from protobuf's own files; libprotobuf-c has no code for them
PROTOBUF_INCLUDE ?= $(or $(shell $(PKG_CONFIG) --variable=includedir protobuf 2>/dev/null),/usr/include)
P2P_WKT := $(addprefix google/protobuf/,duration empty timestamp)
P2P_GEN += $(patsubst %,$(B)/gen/%.pb-c.h,$(P2P_WKT))
GENERATED += $(P2P_GEN)
P2PAPI_SRC := $(wildcard p2p/api/*.c) $(patsubst %.proto,%.pb-c.c,$(P2P_PROTO)) $(P2P_WKT:=.pb-c.c)
P2P_SRC := $(filter-out p2p/main.c,$(wildcard p2p/*.c)) $(wildcard p2p/vortex/*.c) \
	$(wildcard p2p/scheduler/*.c)
BROKER_SRC := $(filter-out p2p/broker/main.c,$(wildcard p2p/broker/*.c))
CONVERT_SRC := $(filter-out p2p/convert/main.c,$(wildcard p2p/convert/*.c))
LIBS_P2P := $(LIBS_NET) -lcap
PROGRAMS += bin/dfdaemon bin/dfdaemon-broker bin/dfdaemon-convert
define MODULE_RULES +=
$(call archive,p2papi,$(P2PAPI_SRC))

$(call archive,p2p,$(P2P_SRC))

$(call archive,broker,$(BROKER_SRC))

$(call archive,convert,$(CONVERT_SRC))

$(call program,bin/dfdaemon,p2p/main.c,p2p broker p2papi storeapi rpc common,$(LIBS_P2P))

$(call program,bin/dfdaemon-convert,p2p/convert/main.c,convert p2p common,-lyaml -linih)

$(call program,bin/dfdaemon-broker,p2p/broker/main.c,broker common,-lcap)

endef
