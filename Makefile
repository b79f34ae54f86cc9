# The Python for the environment: 3.11 or newer.
PYTHON ?= python3
VENV := .venv

# The tests marked `exact` are compiled as for users. All others are compiled quickly, in half of the time.
EXACT = $(shell grep -rlw pytest.mark.exact tests)
QUICKLY := --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1
# The tests of one file share compiled programs, so one process runs them.
PARALLEL := -n auto --dist loadfile

.PHONY: demo test test-all lint bench clean

demo: $(VENV)/.ready-demo  ## evolve digits for the embedded classifier
	$(VENV)/bin/evofool evolve

test: $(VENV)/.ready-dev  ## the tests, without the slow ones
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'exact and not slow' $(EXACT)
	XLA_FLAGS='$(QUICKLY)' $(VENV)/bin/python -m pytest $(PARALLEL) -m 'not exact and not slow'

test-all: $(VENV)/.ready-dev  ## every test, all compiled as for users
	$(VENV)/bin/python -m pytest $(PARALLEL) -m 'slow or not slow'

lint: $(VENV)/.ready-dev  ## lint, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(VENV)/.ready-dev  ## speed against the bare forward pass and beside the peers: about half an hour on two cores
	$(VENV)/bin/python -m pip install --quiet --editable '.[bench]'
	$(VENV)/bin/python -m benchmarks

clean:  ## remove the environment
	rm -rf $(VENV)

$(VENV)/.ready-demo: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "evofool needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
