# Two commands are enough: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test check bench clean

# Creates .venv, installs, and runs the main job on the embedded world.
demo: $(READY)
	$(BIN)/dissectbench run name=demo

# Creates .venv, installs, and runs the whole suite.
test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile

# Style and types.
check: $(READY) .typecheck
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# Speed: ratios against stated baselines, measured in one run, written to bench.json.
bench: $(READY)
	$(BIN)/python tests/bench/bench.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Type checkers find the namespace package through links; see docs/architecture.md.
.typecheck:
	mkdir -p .typecheck/dissectbench
	for room in harness methods metrics datasets results; do ln -sfn ../../$$room .typecheck/dissectbench/$$room; done

clean:
	rm -rf $(VENV) .typecheck build dist *.egg-info .pytest_cache .ruff_cache
