# The one entry for people and machines. `make` lists the targets; what they do is in scripts/.

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-asan torture fuzz matrix look-report bench bench-growth bench-stages bench-reset bench-meter bench-state \
	fmt lint deny advisories semver setup

TEST_STEPS := setup fetch fixtures fmt deny advisories semver lint features test doc examples metrics

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: ## Build the command line tool and replay the fixture chain
	@scripts/run.sh

test: ## Every check of a change: format, dependencies, lints, tests, docs, examples
	@scripts/check.sh $(TEST_STEPS)

test-long: ## As test, and the guest is rebuilt from source, and Substrate's client runs over this executor
	@scripts/check.sh $(TEST_STEPS) guest spans client

bench: ## Blocks produced and imported, next to Substrate's builder, executor and database: target/bench/summary.*
	@scripts/bench.sh

bench-growth: ## How cost grows with extrinsics, keys, code and memory: target/bench/growth*
	@scripts/bench-growth.sh

bench-stages: ## What load, compile, instantiate, call, reset, root and commit cost: target/bench/stages.json
	@scripts/bench-stages.sh

bench-reset: ## What a clean instance costs, next to the Polkadot SDK's executor: target/bench/reset.*
	@scripts/bench-reset.sh

bench-meter: ## What counting costs programs that only compute: target/bench/meter.*
	@scripts/bench-meter.sh

bench-state: ## What reads, roots and commits of the state cost: target/bench/state.json
	@scripts/bench-state.sh

torture: ## 10,000 kills, 1,000 power cuts, 1,000 failing disks: is the database whole?
	@scripts/torture.sh

fuzz: ## The loader, the instrumenter, chain specs and recordings, fuzzed: an hour each
	@scripts/fuzz.sh

look-report: ## Reports in a headless browser, at two widths: no script error, nothing wider than its window
	@scripts/look-report.sh

matrix: ## The determinism matrix on every fixture: modes, threads, arbiter, meters, ways to compile
	@scripts/matrix.sh

test-asan: ## Instances made, put back and dropped by many threads, under AddressSanitizer
	@scripts/asan.sh

fmt: ## Format the sources
	@cargo fmt --all

lint: ## Clippy over all targets, warnings denied
	@scripts/check.sh setup lint

advisories: ## Known vulnerabilities among the dependencies, if their database can be reached
	@scripts/check.sh setup fetch advisories

semver: ## What breaks users since the last release
	@scripts/check.sh setup semver

deny: ## Licences, bans and sources of all dependencies
	@scripts/check.sh setup fetch deny

setup: ## Install what the build needs and the machine lacks
	@scripts/check.sh setup
