# tests/: unit tests (cmocka, TAP), fuzz targets, bats, kselftest-style scripts; run by tests/run
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,tests/%,$(UNIT_SRC))
TESTLIB_SRC := $(wildcard tests/lib/*.c)
LIBS_TEST := -lcmocka $(LIBS_NET) -lcap -lselinux -lsmartcols
ALL_ARCHIVES := testlib dfcache p2p broker p2papi cachefilesd storeapi rpc common
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_REPLAY := $(patsubst tests/fuzz/%.c,tests/replay_%,$(FUZZ_SRC))
define MODULE_RULES +=
$(call archive,testlib,$(TESTLIB_SRC))

$(foreach t,$(UNIT_TESTS),$(call program,$(t),tests/unit/$(notdir $(t)).c,$(ALL_ARCHIVES),$(LIBS_TEST))

)
$(foreach t,$(FUZZ_REPLAY),$(call program,$(t),tests/fuzz/$(patsubst replay_%,%,$(notdir $(t))).c tests/fuzz/replay.c,$(ALL_ARCHIVES),$(LIBS_TEST))

)
endef

.PHONY: tests unit
tests: $(addprefix $(B)/,$(UNIT_TESTS) $(FUZZ_REPLAY))
# make unit T=test_buf: build and run one unit test (or all)
unit: $(addprefix $(B)/,$(if $(T),tests/$(T),$(UNIT_TESTS)))
	$(Q)for t in $^; do echo "# $$t"; CMOCKA_MESSAGE_OUTPUT=TAP $$t || exit 1; done
