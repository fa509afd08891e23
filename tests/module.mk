# SPDX-License-Identifier: GPL-2.0-or-later
# tests/: unit tests (cmocka, TAP), fuzz targets, bats, kselftest-style scripts; run by tests/run
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,tests/%,$(UNIT_SRC))
TESTLIB_SRC := $(wildcard tests/lib/*.c)
LIBS_TEST := -lcmocka -lyaml $(LIBS_NET) -lcap -lselinux -lsmartcols
# Both daemons have a config.c: a test links the archives of the program whose headers it includes.
OF_CACHEFILESD := $(shell grep -lE '"(cachefilesd/([a-z_]+|store/[a-z_]+)|tests/unit/store_fixture)\.h"' \
	tests/unit/*.c tests/fuzz/*.c)
archives_of = $(if $(filter $(1),$(OF_CACHEFILESD)),testlib cachefilesd storeapi rpc common,\
	testlib dfcache convert p2p broker p2papi storeapi rpc common)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_REPLAY := $(patsubst tests/fuzz/%.c,tests/replay_%,$(FUZZ_SRC))
define MODULE_RULES +=
$(call archive,testlib,$(TESTLIB_SRC))

$(foreach t,$(UNIT_TESTS),$(call program,$(t),tests/unit/$(notdir $(t)).c,$(call archives_of,tests/unit/$(notdir $(t)).c),$(LIBS_TEST))

)
$(foreach t,$(FUZZ_REPLAY),$(call program,$(t),tests/fuzz/$(patsubst replay_%,%,$(notdir $(t))).c tests/fuzz/replay.c,$(call archives_of,tests/fuzz/$(patsubst replay_%,%,$(notdir $(t))).c),$(LIBS_TEST))

)
endef
# libFuzzer programs, when the whole build is instrumented (make fuzz)
FUZZ_PROGRAMS := $(patsubst tests/fuzz/%.c,tests/%,$(FUZZ_SRC))
ifneq ($(FUZZ),)
define MODULE_RULES +=

$(foreach t,$(FUZZ_PROGRAMS),$(call program,$(t),tests/fuzz/$(notdir $(t)).c,$(call archives_of,tests/fuzz/$(notdir $(t)).c),$(LIBS_TEST) -fsanitize=fuzzer)

)
endef
endif

.PHONY: tests unit
tests: $(addprefix $(B)/,$(UNIT_TESTS) $(FUZZ_REPLAY))
# make unit T=test_buf: build and run one unit test (or all)
unit: $(addprefix $(B)/,$(if $(T),tests/$(T),$(UNIT_TESTS)))
	$(Q)for t in $^; do echo "# $$t"; CMOCKA_MESSAGE_OUTPUT=TAP $$t || exit 1; done

# ---- check: everything; the runner adds up and prints the last line --------------------------
SAN_BUILD := build-address-undefined$(BUILD_SUFFIX)
SCRIPTS_BATS := $(wildcard tests/bats/*.bats)
SCRIPTS_KSELFTEST := $(wildcard tests/kselftest/*.sh)
SCRIPTS_INTEROP := $(wildcard tests/interop/test_*.py tests/interop/*.bats)
SCRIPTS_LONG := $(wildcard tests/long/*.sh tests/long/*.bats tests/long/*.py)
SCRIPTS_BENCH := $(wildcard tests/bench/*.sh tests/bench/*.py)
SCRIPTS := $(SCRIPTS_BATS) $(SCRIPTS_KSELFTEST) $(SCRIPTS_INTEROP)
TEST_BINS = $(addprefix $(B)/,$(UNIT_TESTS) $(FUZZ_REPLAY))
# sanitizers: the programs' tests once more, unless this is that build already
SAN_BINS = $(if $(SAN),,$(addprefix $(SAN_BUILD)/,$(UNIT_TESTS) $(FUZZ_REPLAY)))
nothing_built = { echo; echo "0 passed, 1 failed, 0 skipped"; exit 1; }

.PHONY: test-build check check-root check-long check-vm bench
test-build:
	$(Q)scripts/install-deps
	$(Q)scripts/python-env
	$(Q)$(SUBMAKE) WERROR=1 all tests
	$(if $(SAN),,$(Q)$(SUBMAKE) WERROR=1 SAN=address,undefined all tests)

check:
	$(Q)$(MAKE) --no-print-directory test-build || $(nothing_built)
	$(Q)tests/run --build $(B) $(RUN_ARGS) --command 'lint=$(MAKE) -s --no-print-directory lint LINT_ARGS=--tap' \
		$(TEST_BINS) $(SAN_BINS) $(SCRIPTS)

check-root:
	@[ "$$(id -u)" = 0 ] || { echo "make check-root: these tests need root" >&2; exit 1; }
	$(Q)$(MAKE) --no-print-directory test-build || $(nothing_built)
	$(Q)tests/run --build $(B) $(RUN_ARGS) $(SCRIPTS_KSELFTEST) $(SCRIPTS_BATS)

check-long: check
	$(if $(SAN),,$(Q)$(MAKE) --no-print-directory SAN=address,undefined check)
	$(Q)tests/run --build $(B) $(RUN_ARGS) $(SCRIPTS_LONG)

# implementations that nobody here wrote; toolchains that are missing skip their tests, with the reason
.PHONY: check-interop
SCRIPTS_FOREIGN := $(SCRIPTS_INTEROP) $(wildcard tests/interop/foreign/*.bats) $(wildcard tests/bats/*-interop.bats) \
	tests/bats/21-schema.bats tests/bats/38-tls.bats tests/bats/42-manager.bats
check-interop:
	$(Q)scripts/install-deps
	$(Q)scripts/python-env
	$(Q)$(SUBMAKE) all tests
	$(Q)tests/interop/build $(B)
	$(Q)tests/run --build $(B) $(RUN_ARGS) $(SCRIPTS_FOREIGN)

KERNEL ?= 6.1
check-vm:
	$(Q)scripts/install-deps
	$(Q)$(SUBMAKE) all $(addprefix $(B)/,$(patsubst %.c,%,$(wildcard tests/tools/*.c)))
	$(Q)tests/run --build $(B) --timeout 7200 $(RUN_ARGS) $(foreach s,$(shell tests/vm/guest list),\
		--command '$(KERNEL)/$(s)=tests/vm/guest run $(KERNEL) $(s)')

bench:
	$(Q)scripts/install-deps
	$(Q)$(SUBMAKE) all tests
	$(Q)for b in $(SCRIPTS_BENCH); do echo "== $$b"; BUILD=$(CURDIR)/$(B) TOP=$(CURDIR) $$b || exit 1; done

# one swarm of N children, five times: see tests/bench/swarm.sh for what else can be set
.PHONY: bench-swarm
bench-swarm:
	$(Q)scripts/install-deps
	$(Q)$(SUBMAKE) all
	$(Q)BUILD=$(CURDIR)/$(B) TOP=$(CURDIR) N=$(or $(N),8) RUNS=$(or $(RUNS),5) tests/bench/swarm.sh

# ---- fuzz: every target (or T=fuzz_x) for FUZZ_TIME seconds; finds stay in build/fuzz ---------
FUZZ_TIME ?= 60
FUZZ_BUILD := build-address-undefined-fuzz
.PHONY: fuzz fuzz-build
fuzz-build: $(addprefix $(B)/,$(if $(T),tests/$(T),$(FUZZ_PROGRAMS)))
fuzz:
	$(Q)$(SUBMAKE) CC=$(CLANG) SAN=address,undefined BUILD_SUFFIX=-fuzz FUZZ=1 T=$(T) fuzz-build
	$(Q)for t in $(if $(T),$(T),$(notdir $(FUZZ_PROGRAMS))); do \
		n=$${t#fuzz_}; mkdir -p build/fuzz/$$n tests/fuzz/corpus/$$n; echo "== $$t"; \
		$(FUZZ_BUILD)/tests/$$t -max_total_time=$(FUZZ_TIME) -timeout=10 -rss_limit_mb=1024 \
			-print_final_stats=1 -verbosity=0 -artifact_prefix=build/fuzz/$$n- \
			build/fuzz/$$n tests/fuzz/corpus/$$n || exit 1; \
	done

# the fake device: FUSE
HAVE_FUSE ?= $(shell $(PKG_CONFIG) --exists fuse3 2>/dev/null && echo yes)
ifeq ($(HAVE_FUSE),yes)
CFLAGS_tests_fakedev_fakedev := -D_FILE_OFFSET_BITS=64 $(shell $(PKG_CONFIG) --cflags fuse3)
CFLAGS_tests_recorddisk_recorddisk := $(CFLAGS_tests_fakedev_fakedev)
define MODULE_RULES +=
$(call program,tests/bin/fakedev,tests/fakedev/fakedev.c,,$(shell $(PKG_CONFIG) --libs fuse3))

$(call program,tests/bin/recorddisk,tests/recorddisk/recorddisk.c,,$(shell $(PKG_CONFIG) --libs fuse3))

endef
tests: $(B)/tests/bin/fakedev $(B)/tests/bin/recorddisk
$(B)/tests/test_kcache $(B)/tests/test_culler: | $(B)/tests/bin/fakedev
endif

define MODULE_RULES +=
$(call program,tests/bin/scan_bench,tests/bench/scan_bench.c,cachefilesd storeapi common,$(LIBS_CACHEFILESD))

$(call program,tests/bin/cull_quality,tests/bench/cull_quality.c,cachefilesd storeapi common,$(LIBS_CACHEFILESD) -lm)

endef
tests: $(B)/tests/bin/scan_bench $(B)/tests/bin/cull_quality

# tools that the scripts use, each one file and libc alone
TOOLS := $(patsubst %.c,%,$(wildcard tests/tools/*.c))
define MODULE_RULES +=
$(foreach t,$(TOOLS),$(call program,$(t),$(t).c,,)

)
endef
tests: $(addprefix $(B)/,$(TOOLS))

# our gRPC as a program, for the interop tests
define MODULE_RULES +=

$(call program,tests/rpc_echo,tests/interop/rpc_echo.c,rpc common,$(LIBS_NET))

endef
tests: $(B)/tests/rpc_echo

# a client of the piece store, with the oracle of the crash tests
define MODULE_RULES +=
$(call program,tests/bin/storetool,tests/storetool/storetool.c,storeapi common,-lxxhash -lcrypto -lz $(LIBS_ISAL))

endef
tests: $(B)/tests/bin/storetool

# measurements (make bench)
BENCH_SRC := $(wildcard tests/bench/bench_*.c)
define MODULE_RULES +=

$(foreach s,$(BENCH_SRC),$(call program,tests/$(notdir $(basename $(s))),$(s),testlib p2p rpc p2papi storeapi common,$(LIBS_P2P))

)
endef
tests: $(patsubst tests/bench/%.c,$(B)/tests/%,$(BENCH_SRC))
