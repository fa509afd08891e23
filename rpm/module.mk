# SPDX-License-Identifier: GPL-2.0-or-later
# rpm/: packages, built from the release archive alone, in build/rpm and build/deb. When the archive has
# not changed since, nothing is built again.
.PHONY: rpm deb
RPM_TOP := $(CURDIR)/build/rpm
# Debian's rpmbuild cannot see what apt installed
RPM_NODEPS := $(if $(wildcard /etc/debian_version),--nodeps)
# the SELinux package, where its policy can be compiled
RPM_WITH := $(if $(wildcard $(SELINUX_DEVEL)),,--without selinux)
# the day of the last commit, or of the archive
RELEASE_DAY = $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y VERSION)
PACKAGE_SED = sed -e 's/@VERSION@/$(VERSION)/g' -e "s/@RPMDATE@/$$(LC_ALL=C date -u -d @$(RELEASE_DAY) '+%a %b %d %Y')/" \
	-e "s/@DEBDATE@/$$(LC_ALL=C date -u -R -d @$(RELEASE_DAY))/"

rpm: dist
	$(Q)command -v rpmbuild >/dev/null || { echo "make rpm: rpmbuild is not installed (Debian: rpm, RHEL: rpm-build)" >&2; exit 1; }
	$(Q)if cmp -s build/$(DIST).tar.gz $(RPM_TOP)/SOURCES/$(DIST).tar.gz && [ -e $(RPM_TOP)/.done ]; then exit 0; fi; \
	rm -rf $(RPM_TOP) && mkdir -p $(RPM_TOP)/SOURCES $(RPM_TOP)/SPECS && \
	cp build/$(DIST).tar.gz $(RPM_TOP)/SOURCES/ && \
	$(PACKAGE_SED) rpm/dfcachefiles.spec.in >$(RPM_TOP)/SPECS/dfcachefiles.spec && \
	$(UNMAKE) rpmbuild -ba $(RPM_NODEPS) $(RPM_WITH) --define "_topdir $(RPM_TOP)" $(RPMBUILD_ARGS) \
		$(RPM_TOP)/SPECS/dfcachefiles.spec >$(RPM_TOP)/log 2>&1 || { tail -n 30 $(RPM_TOP)/log >&2; exit 1; }; \
	rm -rf $(RPM_TOP)/BUILD $(RPM_TOP)/BUILDROOT; touch $(RPM_TOP)/.done
	@ls build/rpm/SRPMS/*.rpm build/rpm/RPMS/*/*.rpm
# a build of its own: none of our variables, none of this make's job slots; debhelper has another HOME
UNMAKE = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES \
	$(if $(shell command -v ccache),CCACHE_DIR="$(shell ccache -k cache_dir)")

DEB_TOP := $(CURDIR)/build/deb
deb: dist
	$(Q)command -v dh >/dev/null || { echo "make deb: debhelper is not installed" >&2; exit 1; }
	$(Q)if cmp -s build/$(DIST).tar.gz $(DEB_TOP)/dfcachefiles_$(VERSION).orig.tar.gz && [ -e $(DEB_TOP)/.done ]; then exit 0; fi; \
	rm -rf $(DEB_TOP) && mkdir -p $(DEB_TOP) && cp build/$(DIST).tar.gz $(DEB_TOP)/dfcachefiles_$(VERSION).orig.tar.gz && \
	tar -C $(DEB_TOP) -xzf build/$(DIST).tar.gz && cp -r $(DEB_TOP)/$(DIST)/rpm/debian $(DEB_TOP)/$(DIST)/debian && \
	$(PACKAGE_SED) rpm/debian/changelog.in >$(DEB_TOP)/$(DIST)/debian/changelog && \
	rm $(DEB_TOP)/$(DIST)/debian/changelog.in && cd $(DEB_TOP)/$(DIST) && \
	$(UNMAKE) dpkg-buildpackage -us -uc $(DEBBUILD_ARGS) >$(DEB_TOP)/log 2>&1 || { tail -n 30 $(DEB_TOP)/log >&2; exit 1; }; \
	rm -rf $(DEB_TOP)/$(DIST); touch $(DEB_TOP)/.done
	@ls build/deb/*.deb build/deb/*.dsc
