# SPDX-License-Identifier: GPL-2.0-or-later
# selinux/: two policy modules, compiled by the distribution's policy Makefile (selinux-policy-dev,
# selinux-policy-devel). Not a part of "all": make selinux, make install-selinux.
SELINUX_DEVEL ?= /usr/share/selinux/devel/Makefile
SELINUX_SRC := $(wildcard selinux/*.te selinux/*.if selinux/*.fc)
SELINUX_PP := $(patsubst selinux/%.te,$(B)/selinux/%.pp,$(wildcard selinux/*.te))
SELINUXDIR ?= $(PREFIX)/share/selinux/packages/dfcachefiles

.PHONY: selinux install-selinux
selinux: $(SELINUX_PP)
# one recipe for all: the modules use each other's interfaces. The Makefile of the distribution
# wants to run where the sources are, and leaves files there: so it works on a copy.
$(SELINUX_PP) &: $(SELINUX_SRC)
	$(Q)[ -e $(SELINUX_DEVEL) ] || { echo "make selinux: $(SELINUX_DEVEL) is missing;" \
		"install selinux-policy-dev (Debian) or selinux-policy-devel (Fedora, RHEL)" >&2; exit 1; }
	$(call say,SELINUX,$(SELINUX_PP))rm -rf $(B)/selinux && mkdir -p $(B)/selinux && \
		cp $(SELINUX_SRC) $(B)/selinux && \
		$(MAKE) -s --no-print-directory -C $(B)/selinux -f $(SELINUX_DEVEL) \
			MAKEFLAGS= NAME=$(or $(SELINUXTYPE),default) $(if $(V),,>$(B)/selinux/log 2>&1 || \
			{ cat $(B)/selinux/log >&2; rm -f $(SELINUX_PP); exit 1; })
install-selinux: selinux
	$(call install_these,$(SELINUX_INSTALL_LIST))
SELINUX_INSTALL_LIST = $(call put,644,$(SELINUX_PP) $(wildcard selinux/*.if),$(SELINUXDIR))
