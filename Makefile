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

# A new compiler may warn of what none that we know does: only a checkout insists, not a release.
WERROR ?= $(if $(wildcard .git),-Werror)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

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

building := $(filter-out help clean deps% fresh,$(or $(MAKECMDGOALS),all))

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
BASE_CFLAGS = -std=c11 -Wall -Wextra $(WERROR) -fPIC -fvisibility=hidden $(HARDEN) $(SANITIZE) \
	-D_GNU_SOURCE= -DC4P_VERSION='"$(VERSION)"' -I. -I$(OUT)
BASE_LDFLAGS = $(SANITIZE) -Wl,-z,relro,-z,now -Wl,--as-needed

# Where an installed c4pd and c4py find the package; in the tree they look beside themselves first.
PYTHON_DIR = $(PREFIX)/$(PYTHON_INSTALL)
PROGRAM_CFLAGS = -DC4P_PYTHON='"$(PYTHON)"' -DC4P_PYTHON_DIR='"$(PYTHON_DIR)"'

PROTO_LIBS ?= -lprotobuf-c
CLIENT_LIBS ?= -lzmq $(PROTO_LIBS)
DAEMON_LIBS ?= -lzmq -levent_core -levent_extra -lsodium $(PROTO_LIBS)

# ---- the interpreter ----

# EXT_SUFFIX, PYTHON_CFLAGS and PYTHON_INSTALL of the chosen interpreter.
ifneq ($(building),)
$(call remember,python,$(PYTHON) $(realpath $(PYTHON)))
include $(OUT)/state/python.mk
endif
$(OUT)/state/python.mk: $(OUT)/state/python deploy/python-config.py
	$(Q)$(PYTHON) deploy/python-config.py >$@

# ---- sources ----

PROTO_SRC := $(wildcard proto/*.c)
PROTO_DEFS := $(wildcard proto/*.proto)
DAEMON_SRC := $(wildcard daemon/*.c daemon/*/*.c)
CLIENT_SRC := $(wildcard client/*.c)
CLI_SRC := $(wildcard client/cli/*.c)
EXT_SRC := $(wildcard python/ext/*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
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
UNIT_OBJ := $(call object,$(wildcard tests/unit/*.c))
FUZZ_OBJ := $(call object,$(FUZZ_SRC))
ALL_OBJ := $(PB_OBJ) $(PROTO_OBJ) $(DAEMON_OBJ) $(CLIENT_OBJ) $(CLI_OBJ) $(EXT_OBJ) $(UNIT_OBJ) \
	$(FUZZ_OBJ)

PROTO_LIB := $(OUT)/lib/libc4p-proto.a
DAEMON_LIB := $(OUT)/lib/libc4pd.a
CLIENT_LIB := $(OUT)/lib/libc4p.a
C4PD := $(OUT)/bin/c4pd
C4PY := $(OUT)/bin/c4py
EXT = $(OUT)/python/c4py/_c4py$(EXT_SUFFIX)
PY_OUT := $(PY_SRC:%=$(OUT)/%)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(OUT)/tests/%)
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(OUT)/tests/%)

# ---- building ----

.PHONY: all programs extension proto-lib python
all: programs extension python ## Build everything there is a source of (the default)
programs: $(if $(DAEMON_SRC),$(C4PD)) $(if $(CLI_SRC),$(C4PY)) $(if $(CLIENT_SRC),$(CLIENT_LIB)) \
	proto-lib
proto-lib: $(PROTO_LIB)
extension: $(if $(EXT_SRC),$(EXT))
python: $(OUT)/state/compiled

ifneq ($(building),)
$(call remember,flags,$(CC) $(BASE_CFLAGS) $(CPPFLAGS) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS))
$(call remember,program-flags,$(PROGRAM_CFLAGS) $(CLIENT_LIBS) $(DAEMON_LIBS))
$(call remember,objects,$(sort $(ALL_OBJ)))
$(call remember,modules,$(sort $(PY_SRC)))
endif

compile = $(CC) $(BASE_CFLAGS) $(OWN_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
link = $(CC) $(BASE_LDFLAGS) $(CFLAGS) $(LDFLAGS) -o $@

# Before the first compilation no .d file tells who includes a generated header.
$(ALL_OBJ): $(OUT)/state/flags | $(PB_H)
$(DAEMON_OBJ) $(CLIENT_OBJ) $(CLI_OBJ): $(OUT)/state/program-flags
$(EXT_OBJ): $(OUT)/state/python.mk
$(DAEMON_OBJ) $(CLIENT_OBJ) $(CLI_OBJ): private OWN_CFLAGS = $(PROGRAM_CFLAGS)
$(EXT_OBJ): private OWN_CFLAGS = $(PYTHON_CFLAGS) $(EXT_SANITIZE)

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
	$(Q)protoc-c --c_out=$(OUT) $<
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
	$(Q)$(PYTHON) -m compileall -q $(OUT)/python
	@touch $@

.PHONY: clean help
clean: ## Remove everything that was built
	rm -rf $(BUILD)
help: ## Show this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
