# What is done with watchpost, from the first look to the package. Each target says what it lacks.

CARGO ?= cargo
# What `make fuzz` gives each target.
FUZZ_SECONDS ?= 10

# The servers the tests talk to, and what builds the fuzz targets (a C++ compiler) and packages.
TEST_PACKAGES = mosquitto mosquitto-clients snmp snmpd faketime socat influxdb victoria-metrics dunst \
	dbus dbus-x11 xvfb prometheus prometheus-alertmanager iproute2 procps systemd systemd-container g++ dpkg-dev
TEST_COMMANDS = mosquitto mosquitto_pub snmpget snmpd faketime socat influxd victoria-metrics dunst \
	dbus-daemon Xvfb promtool amtool ip ps systemd-analyze systemd-nspawn c++ dpkg-shlibdeps

.PHONY: run test check bench fuzz package servers tools

## Builds watchpost and starts it on the built-in configuration.
run:
	$(CARGO) run --release -- run

## Everything: what `check` does, and the tests against real servers, which it installs.
test: servers tools check
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --test it
	$(CARGO) build --locked --manifest-path fuzz/Cargo.toml

## What needs no servers and no network: format, lints, documentation, licences, unit tests.
check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) deny check licenses bans sources; \
	else \
		echo "skipped: licences and sources, for want of cargo-deny: cargo install --locked cargo-deny"; \
	fi
	$(CARGO) test --locked --lib --bins

## Measures, with the peer beside us in the same run where there is one.
bench:
	$(CARGO) bench --locked
	$(CARGO) build --release --locked
	benches/peers/run

## Each fuzz target for a few seconds. Coverage by rustc's own pass, so that stable Rust will do.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
COVERAGE = --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
	-Cdebug-assertions -Ccodegen-units=1
fuzz:
	RUSTFLAGS="$(COVERAGE)" $(CARGO) build --locked --release --manifest-path fuzz/Cargo.toml --target $(HOST)
	@for target in fuzz/fuzz_targets/*.rs; do \
		name=$$(basename $$target .rs); mkdir -p fuzz/corpus/$$name fuzz/artifacts/$$name; \
		echo "fuzz: $$name"; \
		fuzz/target/$(HOST)/release/$$name -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -rss_limit_mb=512 \
			-verbosity=0 -print_final_stats=1 -artifact_prefix=fuzz/artifacts/$$name/ \
			fuzz/corpus/$$name || exit 1; \
	done

## A deb, and an rpm where cargo-generate-rpm is installed, under target/.
package:
	$(CARGO) build --locked --release --bin watchpost
	packaging/generate target/release/watchpost
	$(CARGO) deb --locked --no-build
	@if command -v cargo-generate-rpm >/dev/null; then \
		$(CARGO) generate-rpm; \
	else \
		echo "skipped: the rpm, for want of cargo-generate-rpm: cargo install --locked cargo-generate-rpm"; \
	fi

# Installs the test servers that are lacking, as root on a Debian; says what is lacking elsewhere.
# Debian starts what it installs: that is forbidden, since the tests start their own.
servers:
	@lacking=; for command in $(TEST_COMMANDS); do \
		PATH=$$PATH:/usr/sbin:/sbin command -v $$command >/dev/null || lacking="$$lacking $$command"; \
	done; \
	if [ -z "$$lacking" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing, for want of$$lacking"; \
		policy=/usr/sbin/policy-rc.d; \
		if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' > $$policy; chmod 755 $$policy; ours=yes; fi; \
		apt-get update -qq; \
		for package in $(TEST_PACKAGES); do \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$package >/dev/null \
				|| echo "cannot install $$package: its tests will be skipped"; \
		done; \
		if [ "$${ours:-}" = yes ]; then rm -f $$policy; fi; \
	else \
		echo "lacking:$$lacking"; \
		echo "their tests will be skipped; on Debian, as root: apt-get install $(TEST_PACKAGES)"; \
	fi

# cargo-deb for the test of the package, cargo-deny for the licences.
tools:
	@for tool in cargo-deb cargo-deny; do \
		command -v $$tool >/dev/null || $(CARGO) install --locked $$tool \
			|| echo "cannot install $$tool: what it checks will be skipped"; \
	done
