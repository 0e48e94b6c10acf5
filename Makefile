# Everything a newcomer needs: `make demo`, `make test`. `make check` is what reviewers run.

CARGO ?= cargo

.PHONY: help demo test features check bench bench-quick cluster-up cluster-down test-cluster test-cluster-short clean

help:
	@echo "make demo    back up a PostgreSQL under load, destroy it, restore it, verify every row (after the build, some ten seconds)"
	@echo "make test    all tests, on real servers of PostgreSQL 13, 15 and 18"
	@echo "make check   formatting, lints, documentation and every combination of features"
	@echo "make cluster-up | cluster-down   a Kubernetes cluster of three nodes with Velero and S3 on this machine (root; Debian 12)"
	@echo "make test-cluster   all tests that need a cluster, about an hour: on that of KUBECONFIG, or on one that it brings up"
	@echo "make test-cluster-short   the cluster tests that every change must pass"
	@echo "make bench   verification compared with the raw COPY floor and with other programs, on generated tables (more than an hour; 20 GiB of disk)"
	@echo "make bench-quick   the same with little data: fails beyond twice the goals of docs/performance.md"

demo:
	@./install.sh demo
	@echo "make demo: compiles state-lab without Kubernetes and S3 (the first time about two minutes on two cores), then runs the drill (about ten seconds)"
	@$(CARGO) run --package state-lab --no-default-features -- demo

test:
	@./install.sh test
	$(CARGO) test --workspace --no-fail-fast $(TEST_ARGS)

# All features are what the tests are built with; these are the other combinations.
FEATURES ?= none drill report s3 serve velero

features:
	@for features in $(FEATURES:none=""); do \
		echo "state-lab with the features: $${features:-none}"; \
		$(CARGO) check --quiet --package state-lab --no-default-features --features "$$features" || exit; \
	done
	@echo "verify-core without TLS"
	@$(CARGO) check --quiet --package verify-core --no-default-features --features async

check: features
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --test cluster -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

bench:
	@./install.sh demo
	$(CARGO) bench -p benches
	@for program in verification sizes modes load scale; do \
		$(CARGO) run --release --quiet -p benches --bin $$program || exit; \
	done
	@if [ "$$(id -u)" = 0 ]; then $(CARGO) run --release --quiet -p benches --bin link; else \
		echo "skipped: the link of 1 Gbit/s: needs root, to make network namespaces"; fi

bench-quick:
	@./install.sh demo
	$(CARGO) run --profile quick --quiet -p benches --bin verification -- --quick

cluster-up:
	@./install.sh cluster
	@fixtures/cluster/rig up

cluster-down:
	@fixtures/cluster/rig down

test-cluster:
	@CARGO="$(CARGO)" fixtures/cluster/test.sh

test-cluster-short:
	@CARGO="$(CARGO)" fixtures/cluster/test.sh fixtures/cluster/short-tier

clean:
	$(CARGO) clean
