# Every command a contributor needs. `make help` lists them.
SHELL := /bin/bash
PY ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOMS := semconv instrumentation collector_processor storage analytics cli

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench bench-instrumentation frameworks languages generate validate validate-frameworks validate-handoffs clean torture fuzz collector load

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

install: $(STAMP) ## a virtual environment with everything (.venv)

$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PY) -m venv $(VENV)
	@$(BIN)/python -m pip --version | grep -qE 'pip (2[5-9]|[3-9][0-9])' || $(BIN)/python -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@echo "installing maslens and its tools into $(VENV) (chDB is about 200 MB the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[server]' --group dev
	@touch $@

demo: $(STAMP) ## a help desk of agents, traced end to end; ONCE=1 ends after the tables
	@$(BIN)/maslens demo $(if $(ONCE),--once,) $(ARGS)

test: $(STAMP) ## the whole test suite, by WORKERS=2 processes; ARGS="-n 0 tests/storage" for some of it in one
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(STAMP) ## format, lint, types, imports, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(addsuffix /maslens,$(ROOMS))
	@$(BIN)/lint-imports
	@$(BIN)/python -m maslens.semconv.generate --check

format: $(STAMP) ## let ruff put the code in order
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

generate: $(STAMP) ## constants, dialect tables and reference pages from semconv/registry and semconv/dialects
	@$(BIN)/python -m maslens.semconv.generate

bench: $(STAMP) ## spans per CPU-second against the engine and others; ARGS=history: bytes per turn; ARGS=reads: API; writes build/bench.json
	@$(BIN)/python -m tests.bench $(ARGS)

bench-instrumentation: $(STAMP) ## what instrumentation costs the app, over the bare SDK
	@$(BIN)/python -m tests.bench.instrumentation $(ARGS)

frameworks: $(STAMP) ## a virtual environment for each framework under build/venvs; ARGS="langgraph crewai" for some
	@$(BIN)/python -m tests.frameworks.build $(ARGS)

validate-frameworks: $(STAMP) ## what `maslens run` sees of each framework, and what its instrumentor alone does
	@$(BIN)/python -m tests.frameworks PAGE=docs/instrument.md $(ARGS)

NPM := npm install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=error

languages: ## JavaScript's exporters (build/javascript) and what the TypeScript agents of docs/languages.md need (build/typescript)
	@mkdir -p build/javascript build/typescript
	@cp tests/contract/javascript/package.json build/javascript/ && $(NPM) --prefix build/javascript
	@cp tests/e2e/typescript/package.json build/typescript/ && $(NPM) --prefix build/typescript

validate-handoffs: $(STAMP) ## agents, tokens, tools and handoffs against captured framework runs; CAPTURES=../shared/captures
	@$(BIN)/python -m tests.validate.handoffs CAPTURES=$(CAPTURES) $(ARGS)

validate: $(STAMP) ## hold every number against labelled data; DATASETS=../shared/datasets CAPTURES=../shared/captures
	@$(BIN)/python -m tests.validate DATASETS=$(DATASETS) CAPTURES=$(CAPTURES) $(ARGS)

load: $(STAMP) ## long, wide and tiny loads, a line each: none lost, none doubled; ARGS="trace tiny" for some
	@$(BIN)/python -m tests.load $(ARGS)

torture: $(STAMP) ## kill -9 under load, every span counted by its id; KILLS=100
	@$(BIN)/python -m tests.torture.kill --kills $(or $(KILLS),100) $(ARGS)

fuzz: $(STAMP) ## strangers' bytes into every decoder; SECONDS=60 for all together, with atheris where it is installed
	@$(BIN)/python -m tests.fuzz.run --seconds $(or $(SECONDS),60) $(ARGS)

collector: $(STAMP) ## an OpenTelemetry Collector and telemetrygen from Go modules, for the contract tests and the bench
	@$(BIN)/python -m tests.contract.collector.build

clean: ## what the build left behind
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
