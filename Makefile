# Everything that is run here and in CI. Tools that are no Rust crates are installed into .venv.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
TOOLS := $(VENV)/installed
CHECKOV := .local/checkov
# Kept in the project's folder: SAM's settings and Zig's cache would otherwise go to the home folder.
export SAM_CLI_TELEMETRY := 0
export __SAM_CLI_APP_DIR := $(CURDIR)/.local/aws-sam
export XDG_CACHE_HOME := $(CURDIR)/.local/cache
TOOLED := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

# The handlers are built apart from each other, so that none has features that another one asked for.
BENCH_PYTHON := .local/bench-python
define BENCH_BUILD
cargo build --release --locked --bin ivs-attendance
cargo build --release --locked --package ivs-attendance-bench
cargo build --workspace --locked
endef
MEASURE := target/debug/ivs-attendance-measure

# What the operator's commands work on.
STACK ?= ivs-attendance
# As given: make would take a dollar sign in them for a variable of its own.
override USER_ID := $(value USER_ID)
override FILES := $(value FILES)
override Q := $(value Q)
override P := $(value P)
override LAKE := $(value LAKE)
override OUT := $(value OUT)
export STACK STAGE SESSION YES USER_ID FILES FROM TO Q P LAKE OUT

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: $(TOOLS) ## The main job on the local stack, on the files in events/; ends with a page about its largest session
	@cargo build --workspace --locked
	@target/debug/ivs-attendance-local run target/debug/ivs-attendance .local/run
	@LAKE=.local/run/s3/attendance-lake SESSION=st-9PdXkqL3vZ7a0 OUT=.local/run/report.html \
	  $(VENV)/bin/python -B tools/report.py

serve: $(TOOLS) ## The local stack, kept up for events by hand
	@cargo build --workspace --locked
	@target/debug/ivs-attendance-local serve .local/serve

bench: $(BENCH_PYTHON)/installed ## What the function costs, beside the least possible and beside Python: docs/performance.md, in ten minutes
	@$(BENCH_BUILD)
	@$(MEASURE) bench target/release/ivs-attendance target/release \
	  $(BENCH_PYTHON)/bin/python3 docs/performance.md .local/bench

bench-instructions: ## The same in instructions, which repeat: before and after a change; needs valgrind
	@$(BENCH_BUILD)
	@$(MEASURE) bench-instructions target/release/ivs-attendance target/release .local/bench

bench-memory: ## What the function takes and costs with 128 to 1,024 MB: a table in docs/settings.md; needs root, for cgroups
	@cargo build --release --locked --package ivs-attendance
	@cargo build --package ivs-attendance-measure --locked
	@$(MEASURE) bench-memory target/release/ivs-attendance .local/bench

bench-quota: ## What the quota of IVS costs, measured, some 5 minutes: a table in docs/survival.md
	@cargo build --workspace --locked
	@# Its client is the SDK's, which would ask a proxy.
	@NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 $(MEASURE) bench-quota target/debug/ivs-attendance .local/bench

bench-collect: ## What collecting takes: pace, queue, processor and memory, in some 30 minutes; ONLY="quota queue processor memory"; needs root, for cgroups
	@$(BENCH_BUILD)
	@# Its client is the SDK's, which would ask a proxy.
	@NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 $(MEASURE) bench-collect target/release/ivs-attendance target/release \
	  .local/bench $(ONLY)

bench-parquet: $(TOOLS) ## The settings of Parquet, beside each other: a table in docs/settings.md
	@mkdir -p .local/parquet
	@cargo bench --quiet --locked --package ivs-attendance-measure --bench parquet -- $(CURDIR)/.local/parquet | grep '^{' > .local/parquet/lines
	@$(VENV)/bin/python bench/parquet.py .local/parquet/lines

bench-queries: $(TOOLS) ## How long each saved query takes on Trino, over 30 days of 100 sessions a day
	@cargo build --workspace --locked
	@$(VENV)/bin/python -B bench/queries.py

bench-history: $(TOOLS) ## What the table history saves: questions over 300 days of 20 sessions of 30 people
	@cargo build --workspace --locked
	@$(VENV)/bin/python -B bench/months.py

costs: ## What exports and sweeps take, measured on the local stack: the rows of docs/costs.md, in some 20 minutes
	@cargo build --workspace --locked
	@$(MEASURE) costs target/debug/ivs-attendance .local/costs

bill: ## The bill of docs/costs.md, after a change of its prices, its numbers or its formula
	@python3 bench/costs.py bill

soak: ## Everything fails at random, and nothing may be lost: SEED=, SESSIONS=, MINUTES= (of faults)
	@cargo build --workspace --locked
	@target/debug/ivs-attendance-local soak target/debug/ivs-attendance .local/soak \
	  $(if $(SEED),seed=$(SEED)) $(if $(SESSIONS),sessions=$(SESSIONS)) $(if $(MINUTES),minutes=$(MINUTES))

test: $(TOOLS) ## All tests: units, and the real binary on the local stack
	cargo test --workspace --locked

check: $(TOOLS) $(CHECKOV)/installed ## Format, lints, documentation, template, guards
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	$(TOOLED) sam validate --lint
	$(TOOLED) cfn-lint template.yaml
	$(TOOLED) python3 tests/lint_translated.py template.yaml .local/translated.json .local/combinations
	$(TOOLED) cfn-lint .local/translated.json
	@# A minute of processor time, in two processes.
	ls .local/combinations/*.json | $(TOOLED) xargs -P 2 -n 32 cfn-lint
	@# Offline. It passes over what it cannot read without a word, so its count of checks is looked for, of each file.
	for file in template.yaml .local/translated.json; do \
	  CKV_SKIP_PACKAGE_UPDATE_CHECK=true $(CHECKOV)/bin/checkov --framework cloudformation --skip-download --compact --quiet \
	    --file $$file | grep -A1000 'Passed checks: [1-9]'; \
	done
	cargo test --locked --quiet --test repo --test queries --test alarms

athena: $(TOOLS) ## Table and queries on Athena's own engine: needs Maven and a JDK of 24 or newer, fetches Trino once
	@cargo build --workspace --locked
	@$(VENV)/bin/python tests/athena/check.py

query: $(TOOLS) ## One of them, over sample sessions: Q=queries/NAME.sql, P="'TEXT', …" for its question marks
	@cargo build --workspace --locked
	@$(VENV)/bin/python tests/athena/query.py "$$Q" "$$P"

build: $(TOOLS) ## The function for Lambda: an arm64 zip
	@rustup target list --installed | grep -x aarch64-unknown-linux-gnu >/dev/null || { \
	  echo "The Rust target aarch64-unknown-linux-gnu is missing; get it with: rustup target add aarch64-unknown-linux-gnu" >&2; exit 1; }
	$(TOOLED) cargo lambda build --release --arm64 --output-format zip --bin ivs-attendance
	@ls -l target/lambda/ivs-attendance/bootstrap.zip

deploy: $(TOOLS) ## Build and deploy into the AWS account of your credentials: STACK=…, PARAMETERS="…"; YES=1: unasked
	@$(TOOLED) python3 tools/deploy.py $(PARAMETERS)

sweep: ## On the deployed stack (STACK=…, as below): look at once for ended sessions that the lake lacks
	@python3 tools/operate.py sweep

backfill: ## What the lake lacks and how long that takes; then, if you agree (YES=1: unasked), the sweep
	@python3 tools/operate.py backfill

export: ## Ask for one session: STAGE=arn:… SESSION=st-…
	@python3 tools/operate.py export

collect: ## Ask for the attendance of one session: STAGE=arn:… SESSION=st-…
	@python3 tools/operate.py collect

redrive: ## Try the sessions in both dead-letter queues again
	@python3 tools/operate.py redrive

rewrite: ## Have sweeps write anew every file last written before an instant: BEFORE=2026-11-24T12:00:00Z; BEFORE= ends it
	@# BEFORE is not exported above, which would make an empty one of none.
	@python3 tools/operate.py rewrite

recollect: ## Have sweeps collect anew all attendance last written before an instant: BEFORE=…; BEFORE= ends it
	@python3 tools/operate.py recollect

erase: $(TOOLS) ## Erase a user's rows from files of the lake: USER_ID=…, FILES=…; see docs/erasure.md
	@$(VENV)/bin/python tools/region.py $(VENV)/bin/python tools/erase.py

history: $(TOOLS) ## Take days over into the table history, month by month: FROM=YYYY-MM-DD TO=YYYY-MM-DD (today, if left out)
	@$(VENV)/bin/python tools/region.py $(VENV)/bin/python tools/history.py

report: $(TOOLS) ## A page about one session, to look at, mail and print: STAGE=… SESSION=…, or LAKE=FOLDER SESSION=…; OUT=FILE
	@$(VENV)/bin/python -B tools/report.py

report-browser: $(TOOLS) ## That page in a real browser, with strangers' strings and 10,000 people: needs chromium; leaves pictures
	@$(VENV)/bin/python -B tests/check_report.py .local/report
	@$(VENV)/bin/python -B tests/browse_report.py .local/report

picture: $(TOOLS) ## README's picture of that page, anew, of a made-up seminar; needs chromium
	@cargo build --workspace --locked
	@target/debug/ivs-attendance-local sample target/debug/ivs-attendance .local/picture folder 2026-11-29T00:00:00Z \
	  export collect sweep >/dev/null
	@LAKE=.local/picture/s3/attendance-lake SESSION=st-Seminar000001 OUT=.local/picture/report.html \
	  $(VENV)/bin/python -B tools/report.py
	@chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir=.local/picture/profile \
	  --window-size=1000,1180 --screenshot=docs/report.png "file://$(CURDIR)/.local/picture/report.html"

dashboard: $(TOOLS) ## dashboards/grafana.json, after a change of dashboards/grafana.py
	@$(VENV)/bin/python -B dashboards/grafana.py

# Looked at each time, since a venv can go stale without any file of ours being newer.
$(TOOLS): always
	@tools/venv.sh $(VENV) requirements.txt

$(CHECKOV)/installed: always
	@tools/venv.sh $(CHECKOV) requirements-checkov.txt

$(BENCH_PYTHON)/installed: always
	@tools/venv.sh $(BENCH_PYTHON) bench/python/requirements.txt

.PHONY: help run serve bench bench-collect bench-history bench-instructions bench-memory bench-parquet bench-queries bench-quota costs bill test check athena query build deploy \
  sweep backfill export collect redrive rewrite recollect erase history report report-browser picture dashboard soak always
