# Each target sets up what it needs beyond the toolchains that README.md lists, and says in one line when
# one of those is missing.

CARGO ?= cargo
# Extra arguments: make demo ARGS='--http 127.0.0.1:9000', make test ARGS=handshake
ARGS ?=

# Minutes of the outage in make soak
MINUTES ?= 10
# Minutes of its tunnels that come and go
SOAK ?= 60

# The load tool and backend of the comparison are a package of their own.
BENCH := --manifest-path bench/Cargo.toml --target-dir target/bench

.PHONY: help demo test soak control-plane check fmt clippy docs generated deny generate bench \
	bench-compare bench-smoke browser

help:
	@echo 'make demo      a chat through Hawser on http://127.0.0.1:8080'
	@echo 'make test      all tests'
	@echo 'make soak      the long forms of the tests: an outage of MINUTES (10), 10,000 objects, 9,000 tunnels that end,'
	@echo '               an update under 2,000, SOAK (60) minutes of sockets that come and go, 1,000,000 random streams'
	@echo 'make control-plane  builds the Kubernetes of the tests, once; make test does it by itself'
	@echo 'make check     format, lints, generated files, docs, dependencies'
	@echo 'make generate  rewrite the generated files'
	@echo 'make bench     benchmarks of the hot pieces'
	@echo 'make bench-compare  side by side with nginx, HAProxy and Caddy: bench/README.md'
	@echo 'make bench-smoke    do the scenarios of bench-compare work?'
	@echo 'make browser   the demo in headless Chromium (after make test)'

# The development profile: it builds in less than half of the time of a release, and a chat needs no more.
demo:
	@scripts/need rust cc
	$(CARGO) run --locked -- demo $(ARGS)

# Most tests wait for clusters and clocks, so more of them than processors run at a time.
# The variable names the runner of this machine's target: CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER.
test:
	@scripts/need rust cc python node ip nft unshare
	@tests/clients/setup
	@folder=$$(scripts/control-plane) || exit 1; \
	host=$$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_'); \
	echo '$(CARGO) test --locked $(ARGS)'; \
	env "RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4}" "CARGO_TARGET_$${host}_RUNNER=$(CURDIR)/scripts/with-netns" "HAWSER_CONTROL_PLANE=$$folder" \
		$(CARGO) test --locked $(ARGS)

soak:
	HAWSER_SOAK_MINUTES=$(MINUTES) HAWSER_SOAK_TUNNEL_MINUTES=$(SOAK) HAWSER_SOAK_SOCKETS=9000 HAWSER_SOAK_WINDOW=60 \
		$(MAKE) --no-print-directory test ARGS='--test it -- cluster::outage cluster::scale replicas::rollout shutdown::pace soak:: --nocapture'
	HAWSER_STREAMS=500000 $(MAKE) --no-print-directory test ARGS='--lib -- tunnel::tests::streams'

control-plane:
	@scripts/control-plane

check: fmt clippy docs generated deny

fmt:
	@scripts/need rust cc
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path bench/Cargo.toml
	@# Not by cargo: it includes a file of the crate, whose tests it would look for in the wrong place.
	rustfmt --edition 2024 <fuzz/fuzz_targets/frame.rs | diff fuzz/fuzz_targets/frame.rs -

clippy:
	@scripts/need rust cc
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets $(BENCH) -- -D warnings
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --no-default-features -- -D warnings

docs:
	@scripts/need rust cc
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

generated:
	@scripts/need rust cc
	scripts/generate --check

deny:
	@scripts/need rust cc
	scripts/cargo-deny --log-level warn check -D unmatched-skip -D license-not-encountered bans licenses sources

generate:
	@scripts/need rust cc
	scripts/generate

bench:
	@scripts/need rust cc
	$(CARGO) bench --locked $(ARGS)

# Side by side with other proxies. Comparing builds, only some scenarios:
# make bench-compare ARGS='--hawser old=/tmp/hawser --hawser new=target/release/hawser --scenarios echo-125'
bench-compare:
	@scripts/need rust cc python ip unshare
	@bench/peers
	$(CARGO) build --locked --release $(BENCH)
	$(if $(findstring --hawser,$(ARGS)),,$(CARGO) build --locked --release)
	bench/compare.py $(ARGS)

# The load tool's own tests, then every scenario at tiny scale.
bench-smoke:
	@scripts/need rust cc python ip unshare
	$(CARGO) test --locked $(BENCH)
	$(CARGO) build --locked $(BENCH)
	$(CARGO) build --locked
	bench/compare.py --smoke --tool target/bench/debug/hawser-bench --hawser target/debug/hawser $(ARGS)

browser:
	@scripts/need rust cc python node chromium
	@tests/clients/setup
	$(CARGO) build --locked --bins --tests
	tests/browser/run
