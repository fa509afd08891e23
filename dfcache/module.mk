# SPDX-License-Identifier: GPL-2.0-or-later
# dfcache/: the command line
DFCACHE_SRC := $(filter-out dfcache/main.c,$(wildcard dfcache/*.c))
LIBS_DFCACHE := -lnghttp2 -lprotobuf-c -lsmartcols -linih -lssl -lcrypto -lxxhash -lz $(LIBS_ISAL)
# what -V prints; "unknown" outside a git checkout
CFLAGS_dfcache_app := -DGIT_COMMIT='"$(shell git rev-parse --short=9 HEAD 2>/dev/null || echo unknown)"' \
	-DGIT_DATE='"$(shell git log -1 --format=%cs 2>/dev/null || echo unknown)"'
PROGRAMS += bin/dfcache
define MODULE_RULES +=
$(call archive,dfcache,$(DFCACHE_SRC))

$(call program,bin/dfcache,dfcache/main.c,dfcache p2papi rpc common,$(LIBS_DFCACHE))

endef
