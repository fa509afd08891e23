# SPDX-License-Identifier: GPL-2.0-or-later
# cachefilesd/: the daemon (libcachefilesd + main.c), cachefilesctl (ctl.c), and api/, the only part
# that another program may include.
STOREAPI_SRC := $(wildcard cachefilesd/api/*.c)
CACHEFILESD_MAINS := cachefilesd/main.c cachefilesd/ctl.c
CACHEFILESD_SRC := $(filter-out $(CACHEFILESD_MAINS),$(wildcard cachefilesd/*.c)) \
	$(wildcard cachefilesd/store/*.c)
LIBS_CACHEFILESD := -lcap -lselinux -lxxhash -lcrypto -lz $(LIBS_ISAL)
PROGRAMS += bin/cachefilesd bin/cachefilesctl
define MODULE_RULES +=
$(call archive,storeapi,$(STOREAPI_SRC))

$(call archive,cachefilesd,$(CACHEFILESD_SRC))

$(call program,bin/cachefilesd,cachefilesd/main.c,cachefilesd storeapi common,$(LIBS_CACHEFILESD))

$(call program,bin/cachefilesctl,cachefilesd/ctl.c,cachefilesd storeapi common,$(LIBS_CACHEFILESD))

endef
