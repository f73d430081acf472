# Safelight: the commands a person types. Everything else is a stage in dvc.yaml or a test.
PYTHON ?= python3
PORT ?= 3000
DEBUG ?=
TEST_PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_ARGS ?=

export PATH := $(CURDIR)/$(BIN):$(PATH)
export BENTOML_DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help setup run reader test fuzz lint serve ui web bench soak lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## fetch, train, evaluate, export, register, package, and find the boxes on a real photograph
	@python -m pipelines.run $(if $(DEBUG),debug=$(DEBUG))

reader: $(READY) ## draw keys, make a model that sees, fine-tune, export, register, package a reader, and read a key with it
	@python -m pipelines.reader.run

test: $(READY) ## lint, types, import contracts and every test
	@for folder in clients/web tests/interop; do \
	  command -v npm >/dev/null && [ ! -d $$folder/node_modules ] && (cd $$folder && npm ci --ignore-scripts --silent) || true; done
	@python -m pipelines.fetch || echo "No data: the tests that need it will be skipped, and say so."
	@$(MAKE) --no-print-directory lint
	@OMP_NUM_THREADS=1 python -m pytest --numprocesses $(TEST_PROCESSES) --no-loadscope-reorder $(PYTEST_ARGS)

fuzz: $(READY) ## fuzz the parsers of sealed messages for a minute (FUZZ_S=10 seconds each)
	@python -m tests.fuzz.run all $(or $(FUZZ_S),10)

lint: $(READY) ## style, types and import contracts
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports

serve: $(READY) ## serve the champions on 127.0.0.1 (PORT=3000), to sealed requests
	@echo "Serving on http://127.0.0.1:$(PORT), this machine only: open it in a browser, or python -m safelight.client detect FILE."
	@bentoml serve serving.service:Gateway --host 127.0.0.1 --port $(PORT)

ui: $(READY) ## look at runs and registered models (MLflow, http://127.0.0.1:5000)
	@mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1 --port 5000

web: ## check the browser client and rebuild the files that the gateway serves (Node.js 20 or later)
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or later (apt-get install npm)."; exit 1; }
	@cd clients/web && npm ci --ignore-scripts --silent && npm run --silent check && npm test --silent && npm run --silent build

BENCHMARKS := $(filter-out bench/loader.py bench/soak.py,$(sort $(wildcard bench/*.py)))

bench: $(READY) ## measure (bench/*.py) and write bench/results.json, its pictures and the tables of docs/performance.md
	@set -e; for script in $(BENCHMARKS); do python $$script; done

soak: $(READY) ## ten minutes at 80 % of saturation (SOAK_S=600): no error, and memory that stays where it is
	@python bench/soak.py

setup: $(READY) ## install everything into .venv

$(READY): requirements.lock pyproject.toml
	@command -v git >/dev/null || { echo "git is missing: install it (apt-get install git)."; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.11 to 3.13."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}. Try: make setup PYTHON=python3.11")'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing: install it (apt-get install python3-venv)."; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV) (once, some minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location $(PIP_ARGS) -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

lock: ## resolve requirements.lock anew from pyproject.toml
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	@$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-emit-index-url \
	  --no-annotate $(addprefix --find-links ,$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)) pyproject.toml \
	  | sed -E -e '/^(nvidia-(c|n[cv])|cuda-|triton)[a-z0-9-]*==/d' -e 's/^torch==([0-9.]+).*/torch==\1/' | uniq > requirements.lock
	@rm -rf $(VENV)-lock

clean: ## remove what was built, keep what was downloaded
	rm -rf outputs bundles metrics/*.json mlflow.db mlruns data/processed
