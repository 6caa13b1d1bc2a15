# One environment serves everything; `make demo` and `make test` need nothing but
# Python ≥ 3.11 and git.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: demo demo-sharded test test-all test-quick lint format docs dist bench bench-quick pods \
	test-matrix test-peers test-accelerators clean

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"jaxent needs Python >= 3.11, and `$(PYTHON)` is {v.major}.{v.minor}: try `make PYTHON=python3.12 ...`")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,demo,docs,dist,lint]'
	touch $@

demo: .venv/installed
	$(BIN)/python -m examples.demo

# Eight devices, forced on the CPU, by one process and by two that are stopped.
demo-sharded: .venv/installed
	$(BIN)/python -m examples.sharded_lm

test: .venv/installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q

# And what another test shows to hold: options in float64, every option's derivatives.
test-all: .venv/installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q -m ''

# What a change to one loss needs: its rows of the tables, and the rules of the house.
LOSS ?= softmax_focal_loss
HOUSE := tests/test_architecture.py tests/test_doors.py tests/test_errors.py \
	tests/test_oracle.py tests/test_tables.py
test-quick: .venv/installed
	$(BIN)/python -m pytest -n $(JOBS) -q $(HOUSE)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q tests jaxent -k '$(LOSS) and not float64 and not float16'

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in build/docs; a warning is an error.
docs: .venv/installed
	$(BIN)/python -m sphinx -q -W --keep-going -E -d build/doctrees docs build/docs
	@echo 'Open build/docs/index.html'

# The release, in dist/, and whether the wheel is whole where nothing else is installed.
dist: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python tests/installed.py dist/*.whl

# Everything, with every peer that installs, in an environment of its own; and optax alone.
bench:
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench,peers]'
	.venv-bench/bin/python -m benchmarks --output docs/results

bench-quick: .venv/installed
	$(BIN)/python -m benchmarks --quick

# Compiled for TPU pods by libtpu, which needs no TPU for it.
pods: PODS_OUTPUT ?= docs/results
pods:
	test -x .venv-tpu/bin/python || $(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check -e '.[tpu]'
	.venv-tpu/bin/python -m benchmarks.pods --output $(PODS_OUTPUT)

# The suite on the oldest JAX we claim, on each since, and on the newest there is: what
# a user gets today, as nothing holds it back. Each in an environment of its own.
OLDEST ?= python3.11
BETWEEN ?= python3.12
NEWEST ?= python3.13
test-matrix:
	$(MAKE) test-on PYTHON=$(OLDEST) ENV=.venv-oldest PIN='jax==0.10.* jaxlib==0.10.*'
	$(MAKE) test-on PYTHON=$(BETWEEN) ENV=.venv-between PIN='jax==0.11.* jaxlib==0.11.*'
	$(MAKE) test-on PYTHON=$(NEWEST) ENV=.venv-newest PIN='jax jaxlib'

.PHONY: test-on
test-on:
	test -x $(ENV)/bin/python || $(PYTHON) -m venv $(ENV)
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[test,demo,docs,dist]' $(PIN)
	$(ENV)/bin/python -c 'import jax, sys; print("jax", jax.__version__, "on Python", sys.version.split()[0])'
	$(ENV)/bin/python -m pytest -n $(JOBS) -q -m ''

# Peers' own tests on what jaxent has in the place of theirs, as they were released.
PEERS := optax==0.2.8 scikit-learn==1.9.1 keras==3.15.1 tokamax==0.0.17 pytest
test-peers:
	test -x .venv-peers/bin/python || $(NEWEST) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -e . $(PEERS)
	cd tests && ../.venv-peers/bin/python -m peers

# Compiled by the compilers of TPUs and GPUs, which need neither; and a table of it.
test-accelerators:
	$(MAKE) test-compiled EXTRA=tpu
	$(MAKE) test-compiled EXTRA=gpu
	@cat docs/results/accelerators.md

.PHONY: test-compiled
test-compiled:
	test -x .venv-$(EXTRA)/bin/python || $(PYTHON) -m venv .venv-$(EXTRA)
	.venv-$(EXTRA)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,$(EXTRA)]'
	JAXENT_RESULTS=docs/results .venv-$(EXTRA)/bin/python -m pytest -n $(JOBS) -q tests/accelerators

clean:
	rm -rf .venv .venv-peers .venv-bench .venv-oldest .venv-between .venv-newest \
		.venv-tpu .venv-gpu build dist demo-output
