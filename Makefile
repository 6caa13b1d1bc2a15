# One environment serves everything; `make demo` and `make test` need nothing but
# Python ≥ 3.11 and git. With another Python, and some JAX, in an environment beside it:
# `make test-quick ENV=.venv-oldest PYTHON=python3.11 PIN='jax==0.10.* jaxlib==0.10.*'`.
PYTHON ?= python3
ENV ?= .venv
PIN ?=
BIN = $(ENV)/bin
JOBS ?= 2

.PHONY: demo demo-sharded test test-all test-quick test-newest lint format docs dist bench bench-quick pods \
	test-matrix test-peers test-accelerators clean

$(ENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"jaxent needs Python >= 3.11, and `$(PYTHON)` is {v.major}.{v.minor}: try `make PYTHON=python3.12 ...`")'
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[test,demo,docs,dist,lint]' $(PIN)
	touch $@

demo: $(ENV)/installed
	$(BIN)/python -m examples.demo

# Eight devices, forced on the CPU, by one process and by two that are stopped.
demo-sharded: $(ENV)/installed
	$(BIN)/python -m examples.sharded_lm

# What may be compiled otherwise than it is shipped goes without the emitters of fusions,
# that take a half of XLA's time over small programs. Flags are of a process: two runs.
# XLA has none of this name since JAX 0.11, and aborts on one it does not know: it is tried.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q
FLAG = --xla_cpu_use_fusion_emitters=false
KNOWN = XLA_FLAGS=$(FLAG) $(BIN)/python -c 'import jax; jax.devices()' >/dev/null 2>&1
FLAGS = XLA_FLAGS=$$($(KNOWN) && echo '$(FLAG)')
QUICKLY = $(FLAGS) $(PYTEST)
test: $(ENV)/installed
	$(PYTEST) tests -m 'not thorough and not quickly_compiled'
	$(QUICKLY) -m 'not thorough and quickly_compiled'

# And what another test shows to hold: options in float64, every option's derivatives.
test-all: $(ENV)/installed
	$(BIN)/python -c 'import jax, sys; print("jax", jax.__version__, "on Python", sys.version.split()[0])'
	$(PYTEST) tests -m 'not quickly_compiled'
	$(QUICKLY) -m quickly_compiled

# What a change to one loss needs: all its rows of the tables, and the rules of the house.
# With the flags of `test`, so that what runs this on the newest JAX sees one that is gone.
LOSS ?= softmax_focal_loss
HOUSE := tests/test_architecture.py tests/test_doors.py tests/test_errors.py \
	tests/test_oracle.py tests/test_public_api.py tests/test_tables.py
test-quick: $(ENV)/installed
	$(FLAGS) $(BIN)/python -c 'import jax, sys; jax.devices(); print("jax", jax.__version__, "on Python", sys.version.split()[0])'
	$(BIN)/python -m pytest -n $(JOBS) -q $(HOUSE)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -q tests jaxent -k '$(LOSS) and not float64 and not float16' \
		-m 'thorough or not thorough'

lint: $(ENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(ENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in build/docs; a warning is an error.
docs: $(ENV)/installed
	$(BIN)/python -m sphinx -q -W --keep-going -E -d build/doctrees docs build/docs
	@echo 'Open build/docs/index.html'

# The release, in dist/, and whether the wheel is whole where nothing else is installed.
dist: $(ENV)/installed
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python tests/installed.py dist/*.whl

# Everything, with every peer that installs, in an environment of its own; and optax alone.
bench:
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench,peers]'
	.venv-bench/bin/python -m benchmarks --output docs/results

bench-quick: $(ENV)/installed
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
ON_NEWEST = ENV=.venv-newest PYTHON=$(NEWEST) PIN='jax jaxlib'
test-matrix:
	$(MAKE) test-all ENV=.venv-oldest PYTHON=$(OLDEST) PIN='jax==0.10.* jaxlib==0.10.*'
	$(MAKE) test-all ENV=.venv-between PYTHON=$(BETWEEN) PIN='jax==0.11.* jaxlib==0.11.*'
	$(MAKE) test-all $(ON_NEWEST)

# The house, and the rows of one loss, on the newest JAX, where there is its Python.
test-newest:
	if $(NEWEST) -c '' 2>/dev/null; then $(MAKE) test-quick $(ON_NEWEST); \
	else echo 'No $(NEWEST) here: the newest JAX is not tried.'; fi

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
