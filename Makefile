# Each target sets up what it needs beyond the toolchains that README.md lists, and says in one line when
# one of those is missing.

CARGO ?= cargo
# Extra arguments: make demo ARGS='--http 127.0.0.1:9000', make test ARGS=handshake
ARGS ?=

.PHONY: help demo test check fmt clippy docs generated deny generate bench browser

help:
	@echo 'make demo      a chat through Hawser on http://127.0.0.1:8080'
	@echo 'make test      all tests'
	@echo 'make check     format, lints, generated files, docs, dependencies'
	@echo 'make generate  rewrite the generated files'
	@echo 'make bench     benchmarks of the hot pieces'
	@echo 'make browser   the demo in headless Chromium (after make test)'

# The development profile: it builds in less than half of the time of a release, and a chat needs no more.
demo:
	@scripts/need rust cc
	$(CARGO) run --locked -- demo $(ARGS)

test:
	@scripts/need rust cc python node
	@tests/clients/setup
	$(CARGO) test --locked $(ARGS)

check: fmt clippy docs generated deny

fmt:
	@scripts/need rust cc
	$(CARGO) fmt --check

clippy:
	@scripts/need rust cc
	$(CARGO) clippy --locked --all-targets -- -D warnings

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

browser:
	@scripts/need rust cc node chromium
	$(CARGO) build --locked --bins --tests
	tests/browser/run
