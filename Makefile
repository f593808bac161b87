# sluice: `make` builds build/sluice and build/libsluice.a, `make demo` tells a story, `make test` proves it.
# `make help` lists the rest.

CC       ?= cc
OBJCOPY  ?= objcopy
SHARED   ?= ../shared
BUILD    ?= build
O        ?= -O2
API_PKGS := jansson libpcre2-8 libutf8proc liburing libxxhash
PKGS     := $(API_PKGS) cairo libmicrohttpd libedit

# a cache that holds a fraction of the experts, so what is told comes from disk
DEMO     := --ram 24M --threads 2 --temp 0.5 --seed 2 --stats -p "Tell me a story about a little fox."

WARN     := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith
# -ffp-contract=off: a multiply and an add become one only where the code says fma (one answer on every compiler and CPU)
# `make tidy` builds with TIDY=1: a warning is an error, and GNU extensions belong to os/ and kernels/ alone
STRICT    = $(if $(TIDY),-Werror $(if $(findstring src/os/,$<)$(findstring src/kernels/,$<),,-Wpedantic))
CFLAGS   := -std=c11 $(O) -g $(WARN) -ffp-contract=off -fno-math-errno -pthread -D_FILE_OFFSET_BITS=64 -Iinclude -Isrc -Itests $(EXTRA_CFLAGS)
LDFLAGS  := -pthread $(EXTRA_LDFLAGS)
# the vector kernels are for x86-64 and AArch64; elsewhere, or with `make X86= ARM=`, the library has the scalar ones alone
MACHINE  := $(shell $(CC) -dumpmachine)
X86      := $(findstring x86_64,$(MACHINE))
ARM      := $(findstring aarch64,$(MACHINE))
CFLAGS   += $(if $(X86),-DKERNELS_X86) $(if $(ARM),-DKERNELS_ARM)
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lm

CLI_SRC  := $(sort $(wildcard src/cli/*.c))
ROOMS    := *
OTHERS   := $(if $(X86),,%_avx2.c %_avx512.c) $(if $(ARM),,%_neon.c %_i8mm.c)
LIB_SRC  := $(sort $(filter-out $(CLI_SRC) $(OTHERS),$(wildcard $(ROOMS:%=src/%/*.c))))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
# what sluice.h needs: neither the server and the chat, their answers, states and tools, nor the measuring, nor the making of models
API_OBJ  := $(filter-out $(BUILD)/obj/src/serve/% $(BUILD)/obj/src/chat/% $(BUILD)/obj/src/tools/% $(BUILD)/obj/src/answer/% $(BUILD)/obj/src/states/% $(BUILD)/obj/src/lab/% $(BUILD)/obj/src/forge/%,$(LIB_OBJ))
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/obj/%.o)
# the model that answers without -m: a whole GGUF file in a section of its own
EMBEDDED := $(BUILD)/obj/src/cli/embedded_model.o
SUP_SRC  := $(sort $(wildcard tests/support/*.c))
SUP_OBJ  := $(SUP_SRC:%.c=$(BUILD)/obj/%.o)
TEST_SRC := $(sort $(filter-out $(if $(X86),,%_avx512.c) $(WITHOUT),$(wildcard tests/*/test_*.c)))
TEST_OBJ := $(TEST_SRC:%.c=$(BUILD)/obj/%.o)
TESTS    := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)
# the longest ones begin first, or one runs alone in the end
LONGEST  := stream/test_one_answer golden/test_perplexity unit/test_kernels_avx512 cli/test_engine_commands cli/test_bench \
            fault/test_malformed_model stream/test_cgroup stream/test_drafts stream/test_budget cli/test_doctor
LONGEST  := $(filter $(TESTS),$(LONGEST:%=$(BUILD)/tests/%))
TESTS    := $(LONGEST) $(filter-out $(LONGEST),$(TESTS))

.PHONY: all help clean deps deps-tidy deps-arm deps-emulated deps-fuzz demo man test check-library check-kernels check-neon \
        check-avx512 asan tsan soak soak-serve fuzz build-fuzzers fuzzers tidy tidy-deep laws objects clang-tidy fidelity \
        experiments house mutations clients clients-short deps-clients check-page
.SECONDARY:

all: $(BUILD)/sluice $(BUILD)/libsluice.a

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make            build/sluice and build/libsluice.a
## make demo       build, then the embedded model tells a story from disk
## make test       build and run all tests (data in ../shared where present; skips say so)
## make asan       the same under AddressSanitizer and UBSan
## make tsan       the pool, disks, stores and whole models on several threads under ThreadSanitizer
## make soak       minutes of decoding on bad disks with a tiny cache: no wrong bit, no leak (SOAK_TOKENS=150000 SOAK_SEED=1)
## make soak-serve a thousand requests over 32 connections, as alone and without a trace (SOAK_REQUESTS=1000 SOAK_SEED=1)
## make fuzz       libFuzzer on each parser that the world reaches (FUZZ_SECONDS=600 each, ONLY="http calls"): docs/reliability.md
## make tidy       the laws of the house: floors, warnings as errors with gcc and clang, static analysis
## make laws       of these the ones that are read off the text in a second: floors, doors, names, lengths, columns
## make check-kernels  every rung of the arithmetic against the scalar one, bit for bit (build/check-kernels --bench: speeds)
## make check-avx512   the same for the AVX-512 rung on any x86-64 CPU, its instructions emulated (part of make test)
## make check-neon     the same for the NEON rung, compiled here for AArch64 and run in an emulator
## make clients    real clients against the server: openai, anthropic, lm-eval and others in environments of their own (minutes, PyPI)
## make clients-short  of these openai and anthropic, in seconds; where they cannot be installed it says so
## make check-page the web page in a headless Chromium; screenshots in build/page*.png
## make man        docs/sluice.1 from the option table
## make deps       install the libraries from the distribution

# ---- building -----------------------------------------------------------------------------------------------------------

# ISA flags belong to the files of that rung alone: the binary runs on any CPU and chooses at start.
$(BUILD)/obj/src/kernels/%_avx2.o $(BUILD)/obj/src/kernels/%_avx2.checked $(BUILD)/obj/tools/%_avx2.o: ISA := -mavx2 -mfma -mf16c
$(BUILD)/obj/src/kernels/%_avx512.o $(BUILD)/obj/src/kernels/%_avx512.checked: ISA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c
$(BUILD)/obj/src/kernels/%_neon.o $(BUILD)/obj/src/kernels/%_neon.checked: ISA := -march=armv8.2-a+dotprod
$(BUILD)/obj/src/kernels/%_i8mm.o $(BUILD)/obj/src/kernels/%_i8mm.checked: ISA := -march=armv8.2-a+dotprod+i8mm

$(BUILD)/obj/src/kernels/%.o: UNCHECKED = $(if $(KERNELS_UNCHECKED),-fno-sanitize=all)
$(BUILD)/obj/%.o: %.c Makefile | deps
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(STRICT) $(PKG_CFLAGS) $(ISA) $(UNCHECKED) -MMD -MP -c -o $@ $<

# the files of the web page, whole, in an object of their own
PAGE := $(BUILD)/obj/src/serve/page_files.o
$(PAGE): src/serve/page_files.S $(wildcard src/serve/page/*) Makefile
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<

# all rooms below cli/, with their doors, for the program, the tests and the tools
$(BUILD)/rooms.a: $(LIB_OBJ) $(PAGE)
	@rm -f $@
	$(AR) rcs $@ $^

# the library for others: one object, in which only the names of sluice.h are visible
$(BUILD)/libsluice.o: $(API_OBJ)
	$(CC) -r -nostdlib -o $@ $^
	$(OBJCOPY) --wildcard --keep-global-symbol='sluice_*' $@

$(BUILD)/libsluice.a: $(BUILD)/libsluice.o
	@rm -f $@
	$(AR) rcs $@ $^

$(EMBEDDED): src/cli/embedded_model.S data/tiny-tales.gguf Makefile
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<

$(BUILD)/sluice: $(CLI_OBJ) $(EMBEDDED) $(BUILD)/rooms.a
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(SUP_OBJ) $(BUILD)/rooms.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

# a fuzz target is a test with a main of another file: replay.c, or (make fuzz) libFuzzer's own
REPLAY ?= $(BUILD)/obj/tests/fuzz/replay.o
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/test_*.c)))
$(FUZZERS): $(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(REPLAY) $(SUP_OBJ) $(BUILD)/rooms.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

deps:
	@tools/deps.sh $(PKGS) cmocka

deps-tidy:
	@tools/deps.sh --tidy

deps-clients:
	@tools/deps.sh --clients

deps-arm:
	@tools/deps.sh --arm

deps-emulated:
	@tools/deps.sh --emulated

deps-fuzz:
	@tools/deps.sh --fuzz

# made from the option table, like --help; tests/cli notices when it is old
man: $(BUILD)/sluice
	$(BUILD)/sluice --man > docs/sluice.1

# ---- using --------------------------------------------------------------------------------------------------------------

demo: $(BUILD)/sluice
	@$(BUILD)/sluice run $(DEMO)

test: all check-library $(TESTS)
	@SLUICE_BIN=$(BUILD)/sluice SLUICE_SHARED=$(SHARED) tests/run.sh $(TESTS)

# The library as somebody else uses it: nothing but sluice_ is visible, and the program on top of sluice.h links and runs.
check-library: $(BUILD)/hello
	@! nm -g --defined-only $(BUILD)/libsluice.a | awk 'NF == 3 && $$3 !~ /^sluice_/' | grep .
	@$(BUILD)/hello data/tiny-tales.gguf >$(BUILD)/hello.txt
	@grep -q . $(BUILD)/hello.txt

$(BUILD)/hello.c: include/sluice.h
	@mkdir -p $(@D)
	@sed -n '/^ \*     #include <sluice.h>/,/^ \*     }$$/ s/^ \*\(     \)\{0,1\}//p' $< >$@

$(BUILD)/hello: $(BUILD)/hello.c $(BUILD)/libsluice.a
	$(CC) -std=c11 $(WARN) -Werror -Iinclude $(LDFLAGS) -o $@ $^ $(shell pkg-config --libs $(API_PKGS) 2>/dev/null) -lm -pthread

check-kernels: $(BUILD)/check-kernels
	@$<

CHECK_SRC := tools/check_kernels.c tools/bench_kernels.c tools/bench_matmul.c tools/peaks.c $(if $(X86),tools/peaks_avx2.c) \
             tests/support/rungs.c
CHECK_OBJ := $(CHECK_SRC:%.c=$(BUILD)/obj/%.o)
$(BUILD)/check-kernels: $(CHECK_OBJ) $(BUILD)/rooms.a
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

# The rooms that need nothing but a C library, for AArch64. xxhash.h, which base/ includes, is the same on every machine.
check-neon: deps-arm $(BUILD)/check-kernels
	@$(MAKE) --no-print-directory CC="$(filter ccache,$(CC)) aarch64-linux-gnu-gcc" BUILD=$(BUILD)/arm64 ROOMS="base os quant kernels" \
	    PKGS= TIDY=1 EXTRA_CFLAGS="-idirafter /usr/include" EXTRA_LDFLAGS=-static $(BUILD)/arm64/check-kernels
	@tools/check_neon.sh $(BUILD)/check-kernels $(BUILD)/arm64/check-kernels

## make build/bench-threads  what the thread pool costs, quiet and beside busy neighbours
$(BUILD)/bench-threads: $(BUILD)/obj/bench/threads.o $(BUILD)/rooms.a
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

# The AVX-512 rung once more, its intrinsics replaced by functions; -O1, for inlining those takes long enough, and without UBSan and
# guards on the stack, for their signed additions wrap and their temporaries are many. The linker takes these objects before those of
# the library.
EMULATED     := -O1 -g0 -fno-sanitize=undefined $(if $(findstring clang,$(CC)),,--param asan-stack=0) -mavx2 -mfma -mf16c -Wno-psabi \
                -include tests/support/emulated_avx512.h
EMULATED_OBJ := $(patsubst %.c,$(BUILD)/emulated/%.o,$(wildcard src/kernels/*_avx512.c))
$(BUILD)/emulated/%.o: %.c tests/support/emulated_avx512.h Makefile | deps deps-emulated
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(EMULATED) -MMD -MP -c -o $@ $<

AVX512_TEST := $(BUILD)/tests/unit/test_kernels_avx512
$(AVX512_TEST): $(BUILD)/obj/tests/unit/test_kernels_avx512.o $(EMULATED_OBJ) $(SUP_OBJ) $(BUILD)/rooms.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

check-avx512: $(AVX512_TEST)
	@$<

-include $(EMULATED_OBJ:.o=.d)

# without variable tracking: in checked and unrolled kernels it takes longer than all else; and without the emulated rung, whose
# compilation takes minutes with checks, and perplexity, which walks the same code for long
asan:
	@$(MAKE) --no-print-directory test BUILD=build/asan O=-O1 WITHOUT="tests/unit/test_kernels_avx512.c tests/golden/test_perplexity.c" \
	    EXTRA_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fno-var-tracking-assignments" \
	    EXTRA_LDFLAGS="-fsanitize=address,undefined"

# what more than one thread does, the longest first; a test of new threads belongs here
TSAN_TESTS := stream/test_one_answer unit/test_store_limit stream/test_drafts stream/test_soak_model cli/test_interrupts \
              stream/test_lookahead unit/test_store unit/test_store_parts unit/test_store_ready unit/test_store_hints unit/test_disk \
              unit/test_disk_hints unit/test_disk_faults stream/test_soak stream/test_accounts \
              serve/test_completions serve/test_chat serve/test_many serve/test_framing unit/test_os
# setarch -R: ThreadSanitizer wants its addresses where they are without randomisation
tsan:
	@$(MAKE) --no-print-directory BUILD=build/tsan O=-O1 EXTRA_CFLAGS="-fsanitize=thread -fno-omit-frame-pointer" \
	    EXTRA_LDFLAGS=-fsanitize=thread build/tsan/sluice $(TSAN_TESTS:%=build/tsan/tests/%)
	@SLUICE_BIN=build/tsan/sluice SLUICE_SHARED=$(SHARED) TSAN_OPTIONS="halt_on_error=1 $(TSAN_OPTIONS)" \
	    setarch -R tests/run.sh $(TSAN_TESTS:%=build/tsan/tests/%)

# Python programs under tests/clients; docs/clients.md
clients: $(BUILD)/sluice deps-clients
	@SLUICE_BIN=$(BUILD)/sluice tests/clients/run.py long

clients-short: $(BUILD)/sluice
	@if python3 -c "import venv, ensurepip" 2>/dev/null; then SLUICE_BIN=$(BUILD)/sluice tests/clients/run.py short --or-skip; \
	else echo "SKIPPED: the real clients need Python's venv (python3-venv), which is not here"; fi

check-page: $(BUILD)/sluice deps-clients
	@SLUICE_BIN=$(BUILD)/sluice tests/clients/run.py page

SOAK_TOKENS ?= 150000
SOAK_SEED   ?= 1
soak: $(BUILD)/tests/stream/test_soak $(BUILD)/tests/stream/test_soak_model
	@$(BUILD)/tests/stream/test_soak 60 $(SOAK_SEED)
	@$(BUILD)/tests/stream/test_soak_model $(SOAK_TOKENS) $(SOAK_SEED)

SOAK_REQUESTS ?= 1000
soak-serve: $(BUILD)/sluice $(BUILD)/tests/serve/test_many
	@SLUICE_BIN=$(BUILD)/sluice SOAK_REQUESTS=$(SOAK_REQUESTS) SOAK_SEED=$(SOAK_SEED) $(BUILD)/tests/serve/test_many

# Each target of tests/fuzz for FUZZ_SECONDS, from its corpus and what build/fuzz/corpus has grown to; ONLY="calls json": these alone.
# Kernels, which no byte of the world steers, are compiled without checks: with them they take half an hour.
FUZZ_SECONDS ?= 600
FUZZ_CHECKS  := address,undefined
fuzzers: $(FUZZERS)
build-fuzzers: deps-fuzz
	@$(MAKE) --no-print-directory fuzzers CC="$(filter ccache,$(CC)) clang" BUILD=build/fuzz O=-O1 REPLAY= KERNELS_UNCHECKED=1 \
	    EXTRA_CFLAGS="-fsanitize=fuzzer-no-link,$(FUZZ_CHECKS) -fno-sanitize-recover=undefined -fno-omit-frame-pointer" \
	    EXTRA_LDFLAGS="-fsanitize=fuzzer,$(FUZZ_CHECKS)"
fuzz: build-fuzzers
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run.sh build/fuzz/tests/fuzz $(ONLY)

tidy: deps-tidy
	@tools/tidy.sh

laws:
	@awk -f tools/laws.awk src/*/*.[ch] include/*.h tests/*/*.[ch]

## make tidy-deep  clang-tidy once more, its analyser following each path to the end (ten minutes; before a release)
tidy-deep: deps-tidy
	@DEEP=1 tools/tidy.sh

# what tools/tidy.sh builds: all objects, and one mark per file that clang-tidy has nothing to say about
objects: $(LIB_OBJ) $(CLI_OBJ) $(SUP_OBJ) $(TEST_OBJ) $(REPLAY)
clang-tidy: $(LIB_OBJ:.o=.checked) $(CLI_OBJ:.o=.checked)

# Following paths through functions is nine tenths of clang-tidy's time. With an eighth of its default steps it still found each of the
# mistakes that it had found with more, where its own mode=shallow missed half; make tidy-deep takes all of them.
SHALLOWER := -Xclang -analyzer-config -Xclang max-nodes=30000
$(BUILD)/obj/%.checked: %.c $(wildcard src/*/*.h include/*.h) .clang-tidy Makefile
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(CFLAGS) $(PKG_CFLAGS) $(ISA) $(if $(DEEP),,$(SHALLOWER)) && touch $@

## make fidelity   print docs/fidelity.md: distance from the reference, cost of lossy options
$(BUILD)/tests/golden/fidelity: $(BUILD)/obj/tests/golden/fidelity.o
fidelity: $(BUILD)/tests/golden/fidelity
	@SLUICE_SHARED=$(SHARED) $<

## make experiments  the tables of docs/experiments.md: policies, sizes and predictors over recorded traces
experiments: $(BUILD)/sluice
	@SLUICE_BIN=$(BUILD)/sluice SLUICE_SHARED=$(SHARED) tools/experiments.sh $(BUILD)/experiments

## make house      the counts of docs/house.md for this tree: files, functions, includes, names, comments, rooms
house:
	@tools/house.py --rooms

## make mutations  breaks the code on purpose, one place at a time, and says which test notices (tools/mutations.tsv)
mutations:
	@SHARED="$(SHARED)" MAKE='$(MAKE) --no-print-directory CC="$(CC)"' tools/mutate.sh $(ONLY)

clean:
	rm -rf build

-include $(CHECK_OBJ:.o=.d) $(BUILD)/obj/bench/threads.d $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(SUP_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(REPLAY:.o=.d)
