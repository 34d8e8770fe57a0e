# Builds c4p from the root of the repository; `make help` lists what it can do.
#
#   build/obj  build/lib  build/bin   objects, libraries, c4pd and c4py
#   build/python                      the Python packages, ready to be imported
#   build/{asan,tsan,fuzz}            the same trees once more, instrumented (VARIANT=)
#
# Sources are found by their place, so a new file needs no line here. What a file is built with
# (flags, interpreter, list of sources) is remembered under build/ and changing it rebuilds.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
SHELL := /bin/bash

# What may be chosen on the command line.
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
CFLAGS ?= -O2 -g
CLANG ?= clang
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif

# A compiler newer than those it is built with here may warn of what none of them knows, and a
# release should build for ever: only a checkout insists, and only with the compilers we know.
ifeq ($(origin WERROR),undefined)
NEWEST := $(if $(findstring clang,$(CC)),19,14)
WERROR := $(if $(wildcard .git),$(shell \
	version=$$($(CC) -dumpversion 2>/dev/null); [[ $${version%%.*} -le $(NEWEST) ]] && echo -Werror))
endif

VERSION := $(shell sed -n "s/^__version__ = '\(.*\)'/\1/p" python/c4py/_version.py)

VARIANT ?=
OUT := $(BUILD)$(VARIANT:%=/%)
Q := $(if $(filter-out 0,$(V)),,@)
say = $(if $(Q),@printf '  %-8s %s\n' $(1) $(2))

# ---- what is remembered from one run to the next ----

# $(call remember,name,text): the file $(OUT)/state/name is rewritten when text is another one.
remember = $(if $(filter-out same,$(call changed,$(OUT)/state/$(1),$(2))),$(call record,$(1),$(2)))
changed = $(if $(wildcard $(1)),$(if $(call equal,$(file <$(1)),$(2)),same,other),other)
equal = $(if $(subst x$(strip $(1)),,x$(strip $(2)))$(subst x$(strip $(2)),,x$(strip $(1))),,1)
record = $(shell mkdir -p $(OUT)/state)$(file >$(OUT)/state/$(1),$(2))

# A goal that starts make again, once the packages that it needs are there, needs nothing itself.
DRIVERS := help clean deps deps-test deps-lint demo test lint bench asan tsan fuzz soak sim random fresh
building := $(filter-out $(DRIVERS),$(or $(MAKECMDGOALS),all))

# ---- compiler flags ----

SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
SANITIZE_tsan := -fsanitize=thread -fno-omit-frame-pointer
SANITIZE_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
SANITIZE := $(SANITIZE_$(VARIANT))
# Redzones on the stack would be copied, and complained of, when greenlets move stacks.
ifneq ($(filter asan,$(VARIANT)),)
EXT_SANITIZE := --param asan-stack=0
endif
ifeq ($(VARIANT),fuzz)
override CC := $(CLANG)
endif

# Position-independent and hidden everywhere: one object serves the programs and the extension.
HARDEN := -fstack-protector-strong
ifeq ($(SANITIZE)$(filter -O0,$(CFLAGS)),)
HARDEN += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
# An empty _GNU_SOURCE is what a file that defines it by itself says too.
BASE_CFLAGS = -std=c11 -Wall -Wextra -Werror=implicit-function-declaration $(WERROR) \
	-fPIC -fvisibility=hidden $(HARDEN) $(SANITIZE) \
	-D_GNU_SOURCE= -DC4P_VERSION='"$(VERSION)"' -I. -I$(OUT)
BASE_LDFLAGS = $(SANITIZE) -Wl,-z,relro,-z,now -Wl,--as-needed

# Where an installed c4pd and c4py find the package; in the tree they look beside themselves first.
PYTHON_DIR = $(PREFIX)/$(if $(filter /usr,$(PREFIX)),$(PYTHON_SYSTEM),$(PYTHON_LOCAL))
PROGRAM_CFLAGS = -DC4P_PYTHON='"$(PYTHON)"' -DC4P_PYTHON_DIR='"$(PYTHON_DIR)"' \
	$(SYSTEMD_LIBS:-lsystemd=-DHAVE_SYSTEMD)

PROTO_LIBS ?= -lprotobuf-c
CLIENT_LIBS ?= -lzmq -lsodium $(PROTO_LIBS)
DAEMON_LIBS ?= -lzmq -lsodium -levent_core -lsqlite3 -linih $(SYSTEMD_LIBS) $(PROTO_LIBS)
# Where there is libsystemd, c4pd tells the service manager how it is.
ifneq ($(building),)
SYSTEMD_LIBS := $(shell $(CC) -E -x c -include systemd/sd-daemon.h /dev/null >/dev/null 2>&1 && \
	echo -lsystemd)
endif

# ---- the interpreter ----

# EXT_SUFFIX, PYTHON_CFLAGS, PYTHON_SYSTEM and PYTHON_LOCAL of the chosen interpreter.
ifneq ($(building),)
$(call remember,python,$(PYTHON) $(realpath $(PYTHON)))
include $(OUT)/state/python.mk
endif
$(OUT)/state/python.mk: $(OUT)/state/python deploy/python-config.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): no such interpreter; choose one with" \
		"PYTHON=, or run: make deps" >&2; exit 1; }
	$(Q)$(PYTHON) deploy/python-config.py >$@

# ---- sources ----

PROTO_SRC := $(wildcard proto/*.c)
PROTO_DEFS := $(wildcard proto/*.proto)
DAEMON_SRC := $(wildcard daemon/*.c daemon/*/*.c)
CLIENT_SRC := $(wildcard client/*.c)
CLI_SRC := $(wildcard client/cli/*.c)
EXT_SRC := $(wildcard python/ext/*.c)
CONTROL_SRC := $(wildcard python/control/*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
SIM_SRC := $(wildcard tests/sim/sim_*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRC := $(wildcard tests/bench/*.c)
PACKAGES := c4py charm4py charmrun
PY_SRC := $(shell find $(wildcard $(PACKAGES:%=python/%)) /dev/null -type f \
	'(' -name '*.py' -o -name '*.pyi' -o -name py.typed ')')

object = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
PB_C := $(PROTO_DEFS:%.proto=$(OUT)/%.pb-c.c)
PB_H := $(PB_C:.c=.h)
PB_OBJ := $(PB_C:$(OUT)/%.c=$(OUT)/obj/%.o)
PROTO_OBJ := $(call object,$(PROTO_SRC))
DAEMON_OBJ := $(call object,$(DAEMON_SRC))
DAEMON_MAIN := $(call object,daemon/main.c)
CLIENT_OBJ := $(call object,$(CLIENT_SRC))
CLI_OBJ := $(call object,$(CLI_SRC))
EXT_OBJ := $(call object,$(EXT_SRC))
CONTROL_OBJ := $(call object,$(CONTROL_SRC))
UNIT_OBJ := $(call object,$(wildcard tests/unit/*.c))
SIM_OBJ := $(call object,$(wildcard tests/sim/*.c))
FUZZ_OBJ := $(call object,$(wildcard tests/fuzz/*.c))
BENCH_OBJ := $(call object,$(BENCH_SRC))
ALL_OBJ := $(PB_OBJ) $(PROTO_OBJ) $(DAEMON_OBJ) $(CLIENT_OBJ) $(CLI_OBJ) $(EXT_OBJ) $(CONTROL_OBJ) $(UNIT_OBJ) \
	$(FUZZ_OBJ) $(BENCH_OBJ) $(SIM_OBJ)

PROTO_LIB := $(OUT)/lib/libc4p-proto.a
DAEMON_LIB := $(OUT)/lib/libc4pd.a
CLIENT_LIB := $(OUT)/lib/libc4p.a
C4PD := $(OUT)/bin/c4pd
C4PY := $(OUT)/bin/c4py
EXT = $(OUT)/python/c4py/_c4py$(EXT_SUFFIX)
CONTROL_EXT = $(OUT)/python/c4py/_control$(EXT_SUFFIX)
PY_OUT := $(PY_SRC:%=$(OUT)/%)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(OUT)/tests/%)
SIM_BIN := $(SIM_SRC:tests/sim/%.c=$(OUT)/tests/%)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/tests/%)
BENCH_BIN := $(BENCH_SRC:tests/bench/%.c=$(OUT)/tests/%)
# What several tests share, beside them.
UNIT_SHARED := $(filter-out $(call object,$(UNIT_SRC)),$(UNIT_OBJ))
SIM_SHARED := $(filter-out $(call object,$(SIM_SRC)),$(SIM_OBJ))
FUZZ_SHARED := $(filter-out $(call object,$(FUZZ_SRC)),$(FUZZ_OBJ))

# ---- building ----

.PHONY: all programs extension control-extension proto-lib python
all: programs extension control-extension python ## Build everything there is a source of (the default)
	@:
programs: $(if $(wildcard daemon/main.c),$(C4PD)) $(if $(wildcard client/cli/main.c),$(C4PY)) \
	$(if $(CLIENT_SRC),$(CLIENT_LIB)) proto-lib
proto-lib: $(PROTO_LIB)
extension: $(if $(EXT_SRC),$(EXT))
# What attaches to a daemon; processing elements do not need it, nor the libraries that it needs.
control-extension: $(if $(CONTROL_SRC),$(CONTROL_EXT))
python: $(OUT)/state/compiled

ifneq ($(building),)
$(call remember,flags,$(CC) $(BASE_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS))
$(call remember,program-flags,$(PROGRAM_CFLAGS) $(CLIENT_LIBS) $(DAEMON_LIBS))
$(call remember,objects,$(sort $(ALL_OBJ)))
$(call remember,modules,$(sort $(PY_SRC)))
endif

compile = $(CC) $(BASE_CFLAGS) $(OWN_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
link = $(CC) $(BASE_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@

$(ALL_OBJ): $(OUT)/state/flags
# Before the first compilation no .d file tells who includes a generated header. The data plane
# includes none, so the extension can be built where there is no protoc-c.
$(filter-out $(PROTO_OBJ) $(EXT_OBJ),$(ALL_OBJ)): | $(PB_H)
$(DAEMON_OBJ) $(CLIENT_OBJ) $(CLI_OBJ): $(OUT)/state/program-flags
$(EXT_OBJ) $(CONTROL_OBJ): $(OUT)/state/python.mk
$(DAEMON_OBJ) $(CLIENT_OBJ) $(CLI_OBJ): private OWN_CFLAGS = $(PROGRAM_CFLAGS)
$(EXT_OBJ) $(CONTROL_OBJ): private OWN_CFLAGS = $(PYTHON_CFLAGS) $(EXT_SANITIZE)

$(OUT)/obj/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(compile)
$(OUT)/obj/%.pb-c.o: $(OUT)/%.pb-c.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(compile)
$(OUT)/%.pb-c.c $(OUT)/%.pb-c.h &: %.proto
	$(call say,PROTOC,$<)
	@mkdir -p $(@D)
	@# Heard only when it fails: newer ones have much to say about their own name.
	$(Q)protoc-c --c_out=$(OUT) $< 2>$(OUT)/state/$(*F).log || { cat $(OUT)/state/$(*F).log >&2; exit 1; }
-include $(wildcard $(ALL_OBJ:.o=.d))

archive = @mkdir -p $(@D) && rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
$(PROTO_LIB): $(PROTO_OBJ) $(PB_OBJ) $(OUT)/state/objects
	$(call say,AR,$@)
	$(archive)
$(DAEMON_LIB): $(filter-out $(DAEMON_MAIN),$(DAEMON_OBJ)) $(OUT)/state/objects
	$(call say,AR,$@)
	$(archive)
# Complete in itself: programs outside the tree link it alone.
$(CLIENT_LIB): $(CLIENT_OBJ) $(PROTO_OBJ) $(PB_OBJ) $(OUT)/state/objects
	$(call say,AR,$@)
	$(archive)

$(C4PD): $(DAEMON_OBJ) $(PROTO_LIB) $(OUT)/state/objects
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) -pie $(filter %.o %.a,$^) $(DAEMON_LIBS) -lpthread
$(C4PY): $(CLI_OBJ) $(CLIENT_LIB) $(OUT)/state/objects
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) -pie $(filter %.o %.a,$^) $(CLIENT_LIBS) -lpthread

ifneq ($(building),)
$(EXT): $(EXT_OBJ) $(PROTO_OBJ) $(OUT)/state/objects
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) -shared $(filter %.o,$^) -lm -lpthread
$(CONTROL_EXT): $(CONTROL_OBJ) $(CLIENT_LIB) $(OUT)/state/objects
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) -shared $(filter %.o %.a,$^) $(CLIENT_LIBS) -lpthread
endif

# With the source's time, so that the byte code is valid for both.
$(OUT)/python/%: python/%
	@mkdir -p $(@D)
	$(Q)cp -p $< $@
$(OUT)/state/compiled: $(PY_OUT) $(OUT)/state/modules $(OUT)/state/python
	$(call say,PYC,$(OUT)/python)
	@mkdir -p $(OUT)/python
	@cd $(OUT)/python && find . -type f -name '*.py*' ! -path '*/__pycache__/*' -printf '%P\n' | \
		grep -vxF -f <(printf '%s\n' $(PY_SRC:python/%=%)) | xargs -r rm -f
	@find $(OUT)/python -name __pycache__ -prune -exec rm -rf {} +
	@find $(OUT)/python -mindepth 1 -type d -empty -delete
	$(Q)$(PYTHON) -m compileall -q $(OUT)/python
	@touch $@

# ---- tests ----

# C tests may link every module of the daemon and the client; an archive gives what they name.
$(UNIT_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/unit/%.o $(UNIT_SHARED)
$(FUZZ_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/fuzz/%.o $(FUZZ_SHARED)
$(SIM_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/sim/%.o $(SIM_SHARED)
$(BENCH_BIN): $(OUT)/tests/%: $(OUT)/obj/tests/bench/%.o
$(FUZZ_BIN): private TEST_LIBS := -fsanitize=fuzzer
$(UNIT_BIN): private TEST_LIBS := -lcmocka
$(UNIT_BIN) $(SIM_BIN) $(FUZZ_BIN) $(BENCH_BIN): $(DAEMON_LIB) $(CLIENT_LIB) $(OUT)/state/objects
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(link) -pie $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(TEST_LIBS) $(DAEMON_LIBS) $(CLIENT_LIBS) -lm -lpthread

# T=pattern narrows every kind of test; T=file.py::name is one test of pytest.
T ?=
TEST_LIMIT ?= $(if $(SANITIZE),300,120)
FUZZ_SECONDS ?= 60
RESULTS := $(BUILD)/results
STEP = $(VARIANT:%=%-)
# Sanitizers lay out their shadow memory beside what address randomization does not reach.
ALONE := $(if $(SANITIZE),$(shell setarch -R true 2>/dev/null && echo setarch -R))
export UBSAN_OPTIONS := print_stacktrace=1
# Libraries that are not built for it are not looked into: all that one of them moves would be reported.
export TSAN_OPTIONS := suppressions=$(abspath tests/tsan.supp):ignore_noninstrumented_modules=1

again = make $(or $(VARIANT),$(1))
pytest = cd $(CURDIR) && mkdir -p $(RESULTS) && rm -f $(RESULTS)/$(1).xml && \
	env PYTHONPATH=$(abspath $(OUT))/python C4P_BUILD=$(abspath $(OUT)) \
	HYPOTHESIS_STORAGE_DIRECTORY=$(abspath $(BUILD))/hypothesis $(2) \
	$(PYTHON) -B -m pytest -q -o junit_family=xunit1 --junitxml=$(RESULTS)/$(1).xml
chosen = $(if $(findstring .py,$(T)),'$(T)',$(if $(T),-k '$(T)') $(1))
# Nothing to run is right when a pattern was given: it may be meant for other tests.
narrowed = || { code=$$?; [[ "$(T)" && $$code -eq 5 ]]; }

.PHONY: test-unit test-sim test-python test-nodes test-cluster test-smoke fuzz-c fuzz-python bench-run soak-run \
	random-run sim-run
test-unit: $(UNIT_BIN)
	@mkdir -p $(RESULTS)
	@echo "C tests$(VARIANT:%= under %):"
	$(Q)$(PYTHON) tests/run_unit.py --limit $(TEST_LIMIT) --match '$(T)' --wrapper '$(ALONE)' \
		--name $(STEP)unit --rerun '$(call again,$@)' --results $(RESULTS)/$(STEP)unit.json $^
# The short form of each scenario; SEEDS=50 is the long one.
SEEDS ?=
test-sim: $(SIM_BIN)
	@mkdir -p $(RESULTS)
	@echo "Simulations$(VARIANT:%= under %):"
	$(Q)$(PYTHON) tests/run_unit.py --limit $(if $(SEEDS),86400,600) --match '$(T)' \
		--wrapper '$(ALONE)' --arguments '$(SEEDS:%=--seeds %)' --name $(STEP)sim \
		--rerun '$(call again,$@)' --results $(RESULTS)/$(STEP)sim.json $^
test-python: all
	@echo "Python tests:"
	$(Q)$(if $(wildcard tests/python/test_*.py),$(call pytest,python) $(call chosen,tests/python) \
		$(narrowed))

# What the model promises, once more with the PEs on three nodes: all of it is in `make random`.
CORE_TESTS := $(addprefix tests/python/test_,model_calls.py model_collections.py model_futures.py \
	model_migration.py model_migration_all.py model_order.py model_quiescence.py model_reductions.py \
	runtime_objects.py runtime_quiescence.py runtime_reductions.py runtime_sending.py migration_order.py \
	order.py)
test-nodes: all
	@echo "Python tests of the model, on three nodes:"
	$(Q)$(call pytest,nodes,C4P_NODES=3) $(CORE_TESTS) $(T:%=-k '$(notdir $(lastword $(subst ::, ,$(T))))') \
		$(narrowed)

# Several hosts, made of namespaces: skipped where that is not possible.
test-cluster: all
	@echo "Cluster tests:"
	$(Q)$(if $(wildcard tests/cluster/test_*.py),$(call pytest,cluster) $(call chosen,tests/cluster) \
		$(narrowed))

# The extension is instrumented and its interpreter is not: the sanitizer has to be there first.
# Python frees little at its end, so leaks are the C tests' business.
preload = LD_PRELOAD=$(shell $(CC) -print-file-name=lib$(1).so)
SMOKE_ENV := ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=$$TSAN_OPTIONS:die_after_fork=0
test-smoke: all
	@echo "Python smoke test$(VARIANT:%= under %):"
	$(Q)$(if $(wildcard tests/python/test_smoke.py),$(call pytest,$(STEP)smoke,$(SMOKE_ENV) \
		$(if $(VARIANT),$(call preload,$(VARIANT)))) $(call chosen,tests/python/test_smoke.py) $(narrowed))

fuzz-c: $(FUZZ_BIN)
	@mkdir -p $(RESULTS)
	@echo "Fuzz targets, $(FUZZ_SECONDS) s each:"
	$(Q)$(PYTHON) tests/run_fuzz.py --seconds $(FUZZ_SECONDS) --match '$(T)' \
		--wrapper '$(ALONE)' --work $(OUT) --results $(RESULTS)/fuzz.json $^
# The test builds the codec by itself; this way its every byte is watched.
fuzz-python:
	@echo "Mutations of the argument codec, $(FUZZ_SECONDS) s:"
	$(Q)$(if $(wildcard tests/python/test_args.py),$(call pytest,fuzz-python,$(SMOKE_ENV) \
		C4P_FUZZ_SECONDS=$(FUZZ_SECONDS) $(call preload,asan) \
		C4P_ARGS_CFLAGS='$(SANITIZE_asan) --param asan-stack=0') \
		-o timeout=$$(($(FUZZ_SECONDS) + 300)) \
		$(if $(findstring .py,$(T)),'$(T)',-k 'mutation$(if $(T), and ($(T)))' tests/python/test_args.py) \
		$(narrowed))

bench-run: all $(BENCH_BIN)
	$(Q)env PYTHONPATH=$(abspath $(OUT))/python C4P_BUILD=$(abspath $(OUT)) \
		$(PYTHON) tests/bench/run.py $(BENCH)
	$(Q)env C4P_BUILD=$(abspath $(OUT)) $(PYTHON) tests/bench/hosts.py

# The same tests over and over find what happens once in a hundred runs.
SOAK_SECONDS ?= 300
SOAK_CLIENTS ?= 200
SOAK_CUTS ?= 20
soak-run: all
	@echo "$(SOAK_CLIENTS) clients that come and vanish, 120 s:"
	$(Q)env PYTHONPATH=$(abspath $(OUT))/python C4P_BUILD=$(abspath $(OUT)) \
		$(PYTHON) tests/python/soak_clients.py 120 $(SOAK_CLIENTS)
	@echo "Five hosts, cut in two $(SOAK_CUTS) times for 30 s:"
	$(Q)$(call pytest,cuts,C4P_CUTS=$(SOAK_CUTS) C4P_CUT_SECONDS=30) -o timeout=3600 tests/cluster/test_partition.py
	@echo "The tests again and again, $(SOAK_SECONDS) s:"
	@round=0; SECONDS=0; until [[ $$SECONDS -ge $(SOAK_SECONDS) ]]; do \
		round=$$((round + 1)); echo "round $$round"; \
		$(MAKE) --no-print-directory test-unit test-python test-cluster || exit 1; \
	done; echo "$$round rounds in $$SECONDS s without a failure"

# What takes long too; a failing seed is printed with how to replay it.
SIM_SEEDS ?= 100
sim-run: $(SIM_BIN)
	@failed=0; for program in $^; do \
		[[ $$program != *.o && $$program == *'$(T)'* ]] || continue; \
		$$program --seeds $(SIM_SEEDS) || failed=1; \
	done; exit $$failed

# All that `make test` runs a part of.
FULL := C4P_RANDOM_PROGRAMS=10000 C4P_CORRUPTIONS=200 C4P_KILLS=50 C4P_MIGRATION_SEEDS=50
NODES_TESTS := $(wildcard tests/python/test_model_*.py tests/python/test_runtime_*.py) \
	$(addprefix tests/python/test_,random_programs.py nodes.py arrays.py order.py migration_order.py \
	completion.py memory.py faults.py run.py run_ends.py)
FULL_TESTS := $(addprefix tests/python/test_,random_programs.py migration_order.py faults.py run_ends.py \
	service_kills.py)
random-run: all
	@echo "Random programs and faults:"
	$(Q)$(call pytest,random,$(FULL)) \
		$(call chosen,$(FULL_TESTS)) \
		$(narrowed)
	@echo "The tests of the model, and random programs, over several nodes:"
	$(Q)for nodes in 2 3; do \
		$(call pytest,random-nodes,C4P_NODES=$$nodes) $(NODES_TESTS) || exit 1; done

# ---- lint ----

PY_C_SRC := $(EXT_SRC) $(CONTROL_SRC) $(wildcard tests/python/*.c)
C_SRC := $(PROTO_SRC) $(DAEMON_SRC) $(CLIENT_SRC) $(CLI_SRC) \
	$(filter-out $(PY_C_SRC),$(wildcard tests/*/*.c)) $(wildcard examples/c/*.c)
C_FILES := $(C_SRC) $(PY_C_SRC) $(wildcard proto/*.h daemon/*.h daemon/*/*.h client/*.h \
	client/cli/*.h python/ext/*.h python/control/*.h tests/*/*.h)
CORES := $(shell nproc)
syntax = printf '%s\n' $(2) | \
	xargs -r -n 4 -P $(CORES) $(1) -Werror $(BASE_CFLAGS) $(3) -O2 -fsyntax-only

.PHONY: lint-format lint-gcc lint-clang lint-cppcheck lint-flake8 format
lint-format:
	$(Q)bad=0; for file in $(C_FILES); do \
		clang-format $$file | diff -u --label $$file --label formatted $$file - || bad=1; \
	done; if [[ $$bad -ne 0 ]]; then echo "remedy: make format"; exit 1; fi
lint-gcc lint-clang: lint-%: $(PB_H)
	$(Q)$(call syntax,$*,$(C_SRC),$(PROGRAM_CFLAGS) -Iclient)
	$(Q)$(call syntax,$*,$(PY_C_SRC),$(PYTHON_CFLAGS))
lint-cppcheck: $(PB_H)
	$(Q)cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--inline-suppr --library=posix,gnu,python,deploy/uthash.cfg --suppress=missingIncludeSystem \
		--suppress=readdirCalled \
		--suppress=preprocessorErrorDirective --suppress=normalCheckLevelMaxBranches \
		-j $(CORES) -D_GNU_SOURCE -D__x86_64__ -I. -I$(OUT) \
		$(filter-out tests/%,$(C_SRC)) $(EXT_SRC) $(CONTROL_SRC)
lint-flake8:
	$(Q)$(PYTHON) -m flake8 --max-line-length=100 \
		$(wildcard python tests examples deploy docs)
format: ## Lay out the C code as `make lint` wants it
	clang-format -i $(C_FILES)

# ---- what a person runs ----

# Debian packages: to build and run, to test, to lint. `a|b`: either will do. Each list has the one
# before it, since two apt-gets cannot run at a time.
DEPS_build := gcc libc6-dev make libzmq3-dev libprotobuf-c-dev protobuf-c-compiler \
	libevent-dev libsodium-dev uthash-dev libsqlite3-dev libinih-dev libsystemd-dev \
	$(if $(filter /usr/bin/python3,$(PYTHON)),python3-dev python3-numpy python3-greenlet \
	python3-cloudpickle)
DEPS_test := $(DEPS_build) libcmocka-dev clang libclang-rt-14-dev|libclang-rt-dev pkg-config groff-base iproute2 \
	python3-pytest python3-pytest-timeout python3-hypothesis python3-ipykernel python3-nbclient
DEPS_lint := $(DEPS_test) clang-format cppcheck python3-flake8
deps_done = $(if $(filter no,$(DEPS)),,$(BUILD)/state/deps-$(1))

.PHONY: deps deps-test deps-lint
deps: $(call deps_done,build) ## Install the Debian packages that building and running need
	@:
deps-test: $(call deps_done,test) ## ... and those that the tests need
	@:
deps-lint: $(call deps_done,lint) ## ... and those that lint needs
	@:
$(BUILD)/state/deps-%: Makefile $(wildcard /var/lib/dpkg/status)
	@deploy/debian-deps.sh $(patsubst %,'%',$(DEPS_$*))
	@mkdir -p $(@D) && touch $@

# A recipe that starts make uses all cores, unless the person chose another number. The + hands it
# the jobs: make looks for its own name before a variable is expanded.
run = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(CORES))

.PHONY: demo test lint bench asan tsan fuzz soak sim random fresh
demo: ## From nothing to a first run: deps, all, and words counted by chares on 4 PEs
	+@$(run) deps
	+@$(run) all
	$(BUILD)/bin/c4py run -n 4 examples/wordcount.py
	@printf '%s\n' '' 'That was examples/wordcount.py on 4 processing elements of this machine.' \
		'  its text or yours:  $(BUILD)/bin/c4py run -n 2 examples/wordcount.py FILE_OR_DIRECTORY...' \
		'  more programs:      ls examples' \
		'  your first own one: README.md' \
		'  all tests:          make test        everything else: make help'

# Every step runs, whatever became of the one before.
TEST_STEPS := test-unit test-sim test-python test-nodes test-cluster fuzz asan tsan
test: ## All tests, with a summary; T=pattern narrows
	+@$(run) deps-test
	+@$(run) all
	+@rm -rf $(RESULTS); failed=; for step in $(TEST_STEPS); do \
		$(run) FUZZ_SECONDS=$(if $(filter file,$(origin FUZZ_SECONDS)),5,$(FUZZ_SECONDS)) $$step || \
		failed+=" $$step"; \
	done; $(PYTHON) tests/summary.py $(RESULTS) $${failed:+--failed $$failed}

LINTS := format gcc clang cppcheck flake8
lint: ## Layout, warnings of two compilers, cppcheck, flake8
	+@$(run) deps-lint
	+@$(run) --keep-going --output-sync=target $(LINTS:%=lint-%) || \
		{ echo "lint failed; one alone: make $(LINTS:%=lint-%)" >&2; exit 1; }
	@echo "lint: nothing to complain of"

bench: ## Speed, each figure beside its floor
	+@$(run) deps
	+@$(run) bench-run
asan tsan: ## The C tests and a Python smoke test under ASan and UBSan, or TSan
	+@$(run) deps-test
	+@failed=0; for step in test-unit test-smoke; do \
		$(run) VARIANT=$@ $$step || failed=1; \
	done; exit $$failed
fuzz: ## Every decoder on random input, FUZZ_SECONDS=60 each
	+@$(run) deps-test
	+@failed=0; $(run) VARIANT=fuzz fuzz-c || failed=1; $(run) fuzz-python || failed=1; exit $$failed
soak: ## Clients that come and vanish, then the tests again and again, SOAK_SECONDS=300
	+@$(run) deps-test
	+@$(run) soak-run
sim: ## Simulated clusters of up to 1,000 nodes, SIM_SEEDS=100 of each scenario
	+@$(run) deps-test
	+@$(run) sim-run
random: ## 10,000 random programs with their oracles, and the full set of faults
	+@$(run) deps-test
	+@$(run) random-run
fresh: ## Prove `make demo` and `make test` in a minimal Debian; SUITE=bookworm or trixie
	tests/fresh.sh $(abspath $(BUILD))/fresh $(or $(SUITE),bookworm)

# ---- installing ----

INSTALL_PY := $(PY_SRC:python/%=%)
INSTALL_TO = $(DESTDIR)$(PYTHON_DIR)
MAN := $(wildcard docs/man/*.[1358])
# Each shell looks for a command's completion under its name; one file serves both commands.
COMPLETION := bash-completion/completions/c4py bash-completion/completions/c4pd \
	zsh/site-functions/_c4py fish/vendor_completions.d/c4py.fish fish/vendor_completions.d/c4pd.fish
COMPLETION_FILE = $(if $(findstring bash,$(1)),c4py.bash,$(if $(findstring zsh,$(1)),_c4py,c4py.fish))
UNITS := $(wildcard systemd/*.service)
UNIT_DIR = $(DESTDIR)$(PREFIX)/lib/systemd/user
.PHONY: install uninstall
install: all ## Install under PREFIX=/usr/local, staged in DESTDIR=
	install -D -t $(DESTDIR)$(PREFIX)/bin $(C4PD) $(C4PY)
	$(if $(wildcard client/c4p.h),install -D -m 644 -t $(DESTDIR)$(PREFIX)/include client/c4p.h)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib $(CLIENT_LIB)
	@mkdir -p $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' deploy/libc4p.pc.in \
		>$(DESTDIR)$(PREFIX)/lib/pkgconfig/libc4p.pc
	$(Q)for module in $(INSTALL_PY); do \
		install -D -p -m 644 $(OUT)/python/$$module $(INSTALL_TO)/$$module || exit 1; \
	done
	install -D -m 644 -t $(INSTALL_TO)/c4py $(EXT) $(if $(CONTROL_SRC),$(CONTROL_EXT))
	$(PYTHON) -m compileall -q -s '$(DESTDIR)' $(PACKAGES:%=$(INSTALL_TO)/%)
	$(Q)for page in $(MAN); do \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; \
	done
	$(foreach file,$(COMPLETION),install -D -m 644 deploy/completion/$(call COMPLETION_FILE,$(file)) \
		$(DESTDIR)$(PREFIX)/share/$(file) &&) true
	install -d $(UNIT_DIR)
	$(Q)for unit in $(UNITS); do \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $$unit >$(UNIT_DIR)/$${unit##*/} && \
		chmod 644 $(UNIT_DIR)/$${unit##*/} || exit 1; \
	done
uninstall: ## Remove what install put there
	rm -f $(COMPLETION:%=$(DESTDIR)$(PREFIX)/share/%)
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/c4pd bin/c4py include/c4p.h lib/libc4p.a \
		lib/pkgconfig/libc4p.pc)
	rm -f $(INSTALL_PY:%=$(INSTALL_TO)/%) $(addprefix $(INSTALL_TO)/c4py/,$(notdir $(EXT) $(CONTROL_EXT)))
	rm -f $(foreach page,$(MAN),$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
	rm -f $(UNITS:systemd/%=$(UNIT_DIR)/%)
	$(Q)for package in $(PACKAGES); do \
		[[ -d $(INSTALL_TO)/$$package ]] || continue; \
		find $(INSTALL_TO)/$$package -name __pycache__ -prune -exec rm -rf {} +; \
		find $(INSTALL_TO)/$$package -type d -empty -delete; \
	done

.PHONY: clean help
clean: ## Remove everything that was built
	rm -rf $(BUILD)
help: ## Show this list
	@sed -n 's/^\([a-z][a-z -]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@printf '  %-18s%s\n' V=1 'show the commands' PYTHON= 'another interpreter than $(PYTHON)' \
		CC=,CFLAGS= 'compiler, and its options ($(CFLAGS))' WERROR= 'let warnings be warnings' \
		DEPS=no 'install no packages'
