# SPDX-License-Identifier: GPL-2.0-or-later
# dfcachefiles: one Makefile, sources listed in module.mk of each folder.
# Packagers set CFLAGS, CPPFLAGS, LDFLAGS, DESTDIR, PREFIX …; V=1 shows the commands.
# SAN=address,undefined builds (and tests) with sanitizers in a build folder of their own.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
AR ?= ar
ifeq ($(origin AR),default)
AR := ar
endif
PKG_CONFIG ?= pkg-config
PROTOC ?= protoc
INSTALL ?= install
PREFIX ?= /usr
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec
MANDIR ?= $(PREFIX)/share/man
ETCDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
SAN ?=
V ?=
comma := ,

VERSION := $(shell cat VERSION)
B := build$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(BUILD_SUFFIX)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2);)

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings \
	-Wpointer-arith -Wformat=2 -Wno-unused-parameter -Wno-missing-field-initializers
ifneq ($(WERROR),)
WARN += -Werror
endif
OUR_CFLAGS := -std=gnu17 -fno-strict-aliasing -fstack-protector-strong -ffunction-sections \
	-fdata-sections -fvisibility=hidden -pthread $(WARN)
OUR_CPPFLAGS := -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -I. -I$(B)/gen -DVERSION='"$(VERSION)"' \
	-DLIBEXECDIR='"$(LIBEXECDIR)"'
OUR_LDFLAGS := -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,--as-needed -pthread
ifneq ($(FUZZ),)
OUR_CFLAGS += -fsanitize=fuzzer-no-link
endif
ifneq ($(SAN),)
OUR_CFLAGS += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all -O1
OUR_CPPFLAGS := $(filter-out -D_FORTIFY_SOURCE=2,$(OUR_CPPFLAGS)) -DWITH_SAN
OUR_LDFLAGS += -fsanitize=$(SAN)
endif

# ---- libraries ------------------------------------------------------------------------------
HAVE_ISAL ?= $(shell $(PKG_CONFIG) --exists libisal 2>/dev/null && echo yes)
ifeq ($(HAVE_ISAL),yes)
OUR_CPPFLAGS += -DHAVE_ISAL
LIBS_ISAL := -lisal
endif
# entry points of libxxhash that pick AVX2 or AVX-512 where the processor has it; not every build has them
HAVE_XXH_DISPATCH ?= $(shell echo 'int main(void) { return (int)XXH3_128bits("", 0).low64; }' | \
	$(CC) -include xxh_x86dispatch.h -x c - -o /dev/null -lxxhash 2>/dev/null && echo yes)
ifeq ($(HAVE_XXH_DISPATCH),yes)
OUR_CPPFLAGS += -DHAVE_XXH_DISPATCH
endif
LIBS_NET := -lnghttp2 -lprotobuf-c -luring -lnl-route-3 -lnl-3 -lxxhash -ljansson -lssl -lcrypto -lz $(LIBS_ISAL) -linih
OUR_CPPFLAGS += $(shell $(PKG_CONFIG) --cflags libnl-3.0 2>/dev/null)

# ---- sources: each module.mk fills in its variables ----------------------------------------
PROGRAMS :=
TEST_PROGRAMS :=
LINT_SHELL :=
include common/module.mk
include cachefilesd/module.mk
include p2p/module.mk
include dfcache/module.mk
include selinux/module.mk
include tests/module.mk

PROGRAM_PATHS := $(foreach p,$(PROGRAMS),$(B)/$(p))

.PHONY: all
all: $(PROGRAM_PATHS)

# $(call archive,NAME,SOURCES) and $(call program,NAME,MAIN-SOURCES,ARCHIVES,LIBS)
objects = $(patsubst %.c,$(B)/%.o,$(filter %.c,$(1)))
define archive
$(B)/lib$(1).a: $(call objects,$(2))
	$$(call say,AR,$$@)rm -f $$@ && $(AR) rcs $$@ $$^
DEPS += $(patsubst %.o,%.d,$(call objects,$(2)))
endef
define program
$(B)/$(1): $(call objects,$(2)) $(foreach a,$(3),$(B)/lib$(a).a)
	$$(call say,LD,$$@)mkdir -p $$(@D) && $(CC) $(OUR_CFLAGS) $(CFLAGS) $(OUR_LDFLAGS) $(LDFLAGS) -o $$@ $(call objects,$(2)) -Wl,--start-group $(foreach a,$(3),$(B)/lib$(a).a) -Wl,--end-group $(4)
DEPS += $(patsubst %.o,%.d,$(call objects,$(2)))
endef

$(eval $(MODULE_RULES))

$(B)/%.o: %.c | $(GENERATED)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(OUR_CFLAGS) $(CFLAGS) $(CFLAGS_$(subst /,_,$(basename $<))) -MMD -MP -c -o $@ $<

# generated protobuf code: not ours, so not with our warnings
$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h &: %.proto
	$(call say,PROTOC,$<)mkdir -p $(@D) && $(PROTOC) -I. --c_out=$(B)/gen $<
$(B)/gen/google/protobuf/%.pb-c.c $(B)/gen/google/protobuf/%.pb-c.h &: $(PROTOBUF_INCLUDE)/google/protobuf/%.proto
	$(call say,PROTOC,$<)mkdir -p $(@D) && $(PROTOC) -I$(PROTOBUF_INCLUDE) --c_out=$(B)/gen $<
$(B)/%.pb-c.o: $(B)/gen/%.pb-c.c | $(GENERATED)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(OUR_CPPFLAGS) $(CPPFLAGS) $(filter-out $(WARN),$(OUR_CFLAGS)) $(CFLAGS) -w -c -o $@ $<

-include $(DEPS)

# ---- check and run --------------------------------------------------------------------------
.PHONY: lint
lint: $(GENERATED)
	$(Q)scripts/lint $(LINT_ARGS) --cc '$(LINT_CC)'
LINT_CC = $(CC) $(filter-out -DVERSION=% -DLIBEXECDIR=%,$(OUR_CPPFLAGS)) $(OUR_CFLAGS) -Werror -Wno-unused

# what is missing is installed first; the programs are built by a second make, which sees it
.PHONY: demo
demo:
	$(Q)scripts/install-deps --build
	$(Q)$(SUBMAKE) all
	$(Q)scripts/demo --bin $(B)/bin --peers $(PEERS) $(if $(FILE),--file "$(FILE)")
PEERS ?= 3
SUBMAKE = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- install and release --------------------------------------------------------------------
DOCDIR ?= $(PREFIX)/share/doc/dfcachefiles
DATADIR ?= $(PREFIX)/share/dfcachefiles
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
FIREWALLDDIR ?= $(PREFIX)/lib/firewalld/services
BASHCOMPDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHCOMPDIR ?= $(PREFIX)/share/zsh/site-functions
FISHCOMPDIR ?= $(PREFIX)/share/fish/vendor_completions.d
include conf/module.mk

# What goes where, in words MODE:FILE:FOLDER. "make install" puts it there, "make uninstall" takes
# exactly that away. Configuration (mode c) that an administrator changed is left alone by both.
put = $(foreach f,$(2),$(1):$(f):$(3))
INSTALL_LIST = $(strip \
	$(call put,755,$(B)/bin/cachefilesd $(B)/bin/cachefilesctl,$(SBINDIR)) \
	$(call put,755,$(B)/bin/dfdaemon $(B)/bin/dfdaemon-convert $(B)/bin/dfcache,$(BINDIR)) \
	$(call put,755,$(B)/bin/dfdaemon-broker,$(LIBEXECDIR)/dfcachefiles) \
	$(call put,644,$(wildcard man/*.1),$(MANDIR)/man1) \
	$(call put,644,$(wildcard man/*.5),$(MANDIR)/man5) \
	$(call put,644,$(wildcard man/*.8),$(MANDIR)/man8) \
	$(CONF_INSTALL) \
	$(call put,644,README.md COPYING NEWS SECURITY.md $(wildcard docs/*.md),$(DOCDIR)) \
	$(call put,644,$(wildcard docs/monitoring/*),$(DOCDIR)/monitoring))

# $(call install_these,LIST), $(call uninstall_these,LIST)
define install_these
$(Q)for i in $(1); do \
		m=$${i%%:*}; i=$${i#*:}; f=$${i%%:*}; d="$(DESTDIR)$${i#*:}/$${f##*/}"; \
		if [ $$m = c ]; then m=644; \
			if [ -e "$$d" ] && ! cmp -s "$$f" "$$d"; then echo "  KEEP    $$d"; continue; fi; fi; \
		echo "  INSTALL $$d"; $(INSTALL) -D -p -m $$m "$$f" "$$d" || exit 1; \
	done
endef
define uninstall_these
$(Q)for i in $(1); do \
		m=$${i%%:*}; i=$${i#*:}; f=$${i%%:*}; d="$(DESTDIR)$${i#*:}/$${f##*/}"; \
		if [ $$m = c ] && [ -e "$$d" ] && ! cmp -s "$$f" "$$d"; then echo "  KEEP    $$d"; continue; fi; \
		echo "  REMOVE  $$d"; rm -f "$$d" || exit 1; \
	done
endef
.PHONY: install uninstall install-list
install: all $(CONF_GENERATED)
	$(call install_these,$(INSTALL_LIST))

# folders: ours always; with DESTDIR every one that is empty then
uninstall:
	$(call uninstall_these,$(INSTALL_LIST) $(SELINUX_INSTALL_LIST))
	$(Q)for d in $(ETCDIR)/dragonfly $(LIBEXECDIR)/dfcachefiles $(DATADIR)/sysctl.d $(DATADIR) $(DOCDIR)/monitoring $(DOCDIR) $(SELINUXDIR); do \
		[ ! -d "$(DESTDIR)$$d" ] || rmdir --ignore-fail-on-non-empty "$(DESTDIR)$$d"; \
	done
	$(Q)[ -z "$(DESTDIR)" ] || [ ! -d "$(DESTDIR)" ] || find "$(DESTDIR)" -mindepth 1 -depth -type d -empty -delete

install-list:
	@printf '%s\n' $(INSTALL_LIST)

# what is tracked, with changes that are not committed yet
.PHONY: dist
DIST := dfcachefiles-$(VERSION)
dist:
	$(Q)mkdir -p build
	$(Q)if git rev-parse -q --verify HEAD >/dev/null 2>&1; then \
		tree=$$(GIT_COMMITTER_DATE="$$(git log -1 --format=%ct) +0000" git stash create) && \
		git archive --format=tar --prefix=$(DIST)/ "$${tree:-HEAD}" | gzip -n -9 >build/$(DIST).tar.gz; \
	else \
		find . -path './build*' -prune -o -type f -printf '%P\n' | LC_ALL=C sort | \
		tar -c --owner=0 --group=0 --transform 's|^|$(DIST)/|' -T - | gzip -n -9 >build/$(DIST).tar.gz; \
	fi
	@echo build/$(DIST).tar.gz

include rpm/module.mk

.PHONY: clean
clean:
	rm -rf build build-*

.PHONY: help
help:
	@echo 'make                 the programs, in $(B)/bin'
	@echo 'make demo [FILE=path] [PEERS=3]   one file travels between nodes on this machine'
	@echo 'make check           lint, unit tests (also with sanitizers), fuzz corpora, bats, kselftest'
	@echo 'make check-root      the tests of programs, refusing to skip those that need root'
	@echo 'make check-long      check, again under sanitizers, then the long tests (tests/long)'
	@echo 'make check-interop   against implementations that are not ours (Python, and Rust and Go where they are)'
	@echo 'make check-vm [KERNEL=6.1]        the real kernel module, in a guest'
	@echo 'make unit [T=test_num]            build and run unit tests'
	@echo 'make fuzz [T=fuzz_num] [FUZZ_TIME=60]   libFuzzer with clang'
	@echo 'make bench           measurements; make bench-swarm N=8: a swarm over shaped links (root)'
	@echo 'make lint            include arrows, headers, format, shell, manuals, words, licence'
	@echo 'make install [DESTDIR= PREFIX=/usr]     and: make uninstall, make clean'
	@echo 'make dist, make rpm, make deb           release archive, packages (build/rpm, build/deb)'
	@echo 'make selinux, make install-selinux      the SELinux policy modules (see selinux/README.md)'
	@echo 'V=1 shows commands · SAN=address,undefined · CC=clang · WERROR=1 · CFLAGS, LDFLAGS are yours'
