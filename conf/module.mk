# SPDX-License-Identifier: GPL-2.0-or-later
# conf/: what is installed beside programs and manuals. Paths are replaced where PREFIX and the like
# say otherwise than /usr; the completions are printed by the programs.
CONF_SED := -e 's|/usr/sbin/\(cachefiles\)|$(SBINDIR)/\1|g' -e 's|/usr/bin/\(df\)|$(BINDIR)/\1|g' \
	-e 's|/usr/libexec/dfcachefiles|$(LIBEXECDIR)/dfcachefiles|g' \
	-e 's|\([ =]\)/etc/\(cachefilesd.conf\|dragonfly\)|\1$(ETCDIR)/\2|g'
CONF_UNITS := $(patsubst conf/%,$(B)/conf/%,$(wildcard conf/*.service conf/*.socket))
CONF_COMPLETIONS := $(addprefix $(B)/completion/,bash/dfcache zsh/_dfcache fish/dfcache.fish)
CONF_GENERATED := $(CONF_UNITS) $(CONF_COMPLETIONS)
CONF_INSTALL = $(call put,c,conf/cachefilesd.conf,$(ETCDIR)) \
	$(call put,c,conf/dfcache.conf,$(ETCDIR)/dragonfly) \
	$(call put,c,conf/logrotate.d/dfdaemon,$(ETCDIR)/logrotate.d) \
	$(call put,644,$(CONF_UNITS),$(UNITDIR)) \
	$(call put,644,$(wildcard conf/sysusers.d/*.conf),$(SYSUSERSDIR)) \
	$(call put,644,$(wildcard conf/tmpfiles.d/*.conf),$(TMPFILESDIR)) \
	$(call put,644,$(wildcard conf/firewalld/*.xml),$(FIREWALLDDIR)) \
	$(call put,644,$(wildcard conf/sysctl.d/*.conf),$(DATADIR)/sysctl.d) \
	$(call put,644,$(B)/completion/bash/dfcache,$(BASHCOMPDIR)) \
	$(call put,644,$(B)/completion/zsh/_dfcache,$(ZSHCOMPDIR)) \
	$(call put,644,$(B)/completion/fish/dfcache.fish,$(FISHCOMPDIR))

# rewritten only when it changes: PREFIX may differ from one call to the next
.PHONY: conf-always
$(CONF_UNITS): $(B)/conf/%: conf/% conf-always
	$(Q)mkdir -p $(@D) && sed $(CONF_SED) $< >$@.new && { cmp -s $@.new $@ && rm $@.new || mv $@.new $@; }
$(B)/completion/bash/dfcache: $(B)/bin/dfcache
	$(Q)mkdir -p $(@D) && $< completion bash >$@
$(B)/completion/zsh/_dfcache: $(B)/bin/dfcache
	$(Q)mkdir -p $(@D) && $< completion zsh >$@
$(B)/completion/fish/dfcache.fish: $(B)/bin/dfcache
	$(Q)mkdir -p $(@D) && $< completion fish >$@
