# The front door. Meson builds (meson.build); tools/build.sh configures when that is needed.
#
#   make            build the library, the program and the examples in build/
#   make run        install what is missing, build, start `weft up` (ARGS="..." are passed on)
#   make test       the same, then all tests, also under sanitizers; last line "N passed, N failed"
#   make sim        the simulations, over SEEDS seeds each (default 300), JOBS side by side
#   make check-all  more: the program as make builds it and under the address sanitizer, clang,
#                   swapcontext, valgrind, aarch64 in an emulator, fuzzers
#   make bench      the small operations, the simulation, the matrix beside the peers, TLS,
#                   HTTP, WebSocket, HTTP/2
#                   (ARGS="..." for bench/run)
#   make install    into PREFIX (default /usr/local), below DESTDIR if that is set
#   make fuzz       the fuzzers, SECONDS_EACH long (default 60)
#   make format     lay out all C files by .clang-format

BUILD ?= build
PREFIX ?= /usr/local
SECONDS_EACH ?= 60
SEEDS ?= 300
# Functions of one file are inlined into those of another: 4 to 8 % fewer instructions. Not with
# clang, whose objects for that hold nothing that another linker could use.
RELEASE = -Dtests=disabled $(if $(findstring clang,$(CC)),,-Db_lto=true)
C_FILES = $$(find src include apps examples bench tests fuzz -name '*.[ch]')

.PHONY: build run test sim check-all bench install fuzz format clean
.NOTPARALLEL:

build:
	@tools/build.sh $(BUILD) $(RELEASE)

run:
	@tools/install-packages.sh run
	@$(MAKE) --no-print-directory build
	@tools/foreground.sh $(BUILD)/apps/weft/weft up $(ARGS)

test:
	@tools/install-packages.sh test
	@tools/run-tests.sh

sim:
	@tools/install-packages.sh run
	@SEEDS=$(SEEDS) JOBS=$(JOBS) tools/sim.sh

check-all:
	@tools/install-packages.sh check
	@tools/run-tests.sh debug epoll whole asan tsan asan-programs clang ucontext valgrind aarch64 fuzz

bench:
	@tools/install-packages.sh bench
	@tools/build.sh $(BUILD) $(RELEASE) -Dbench=true
	@-$(BUILD)/bench/micro
	@-$(BUILD)/bench/sim
	@bench/run $(ARGS)
	@bench/tls.py
	@bench/ws.py
	@bench/ws.py --memory
	@bench/http.py
	@bench/http2.py

install:
	@tools/build.sh $(BUILD) $(RELEASE) --prefix=$(PREFIX)
	@tools/meson.sh install -C $(BUILD) --no-rebuild --quiet

fuzz:
	@tools/install-packages.sh test
	@FUZZ_SECONDS=$(SECONDS_EACH) tools/run-tests.sh fuzz

format:
	@clang-format -i $(C_FILES)

clean:
	@rm -rf $(BUILD) build-*
