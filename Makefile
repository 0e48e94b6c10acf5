# Everything a newcomer needs: `make demo`, `make test`. `make check` is what reviewers run.

CARGO ?= cargo

.PHONY: help demo test check bench clean

help:
	@echo "make demo    back up a PostgreSQL under load, destroy it, restore it, prove every row (about a minute)"
	@echo "make test    all tests, on real servers of PostgreSQL 13, 15 and 18"
	@echo "make check   formatting, lints and documentation"
	@echo "make bench   verification beside the raw COPY floor, on tables that it makes"

demo:
	@./install.sh demo
	@$(CARGO) run --release --quiet -p state-lab -- demo

test:
	@./install.sh test
	$(CARGO) test --workspace --no-fail-fast

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

bench:
	@./install.sh demo
	$(CARGO) bench -p benches
	$(CARGO) run --release --quiet -p benches --bin throughput

clean:
	$(CARGO) clean
