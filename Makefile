# Two commands are enough: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test check kernels bench ablations docs notebook clean

# Creates .venv, installs the package, runs the main job on tinyworld, on 32 units of each layer, and builds
# a leaderboard of it.
demo: $(READY)
	$(BIN)/dissectbench run name=demo units=32
	$(BIN)/dissectbench leaderboard build runs/demo --out runs/leaderboard

# Creates .venv, installs the package, and runs all tests.
test: $(READY)
	$(BIN)/pytest -n 2 --dist loadfile

# Style, types, and results under other kernels.
check: $(READY) .typecheck
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(MAKE) kernels

# The tests of bitwise equality with two threads (`make test` has one), and with the oldest kernels that
# oneDNN and PyTorch have for x86; docs/determinism.md.
kernels: $(READY)
	OMP_NUM_THREADS=2 $(BIN)/pytest -q -m numerics
	ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default $(BIN)/pytest -q -n 2 --dist loadfile -m numerics

# Measures speed relative to stated baselines in one run; writes bench.json.
bench: $(READY)
	$(BIN)/python tests/bench/bench.py

# Runs Describe-and-Dissect with one part changed at a time, on tinyworld's final layer; writes the table
# of docs/methods/dnd_ablations.md.
DND       := method.describe_and_dissect
ABLATIONS := whole:seed=0 no_crops:$(DND).exemplars.crops=off no_selection:$(DND).scoring.enabled=false \
  no_language_model:language_model=none clip_captions:captioner=concepts three_labels:$(DND).labels.count=3 \
  official:$(DND).variant=official \
  $(foreach by,mean median sq_mean topk_sq_mean image_products,by_$(by):$(DND).scoring.function=$(by))

ablations: $(READY)
	mkdir -p runs/ablations
	set -e; for pair in $(ABLATIONS); do run=ablation-$${pair%%:*}; \
	  $(BIN)/dissectbench run name=$$run layers=[fc] method=[describe_and_dissect] metric=[synonym_accuracy] $${pair#*:}; \
	  sed "s/,describe_and_dissect,/,$${pair%%:*},/" runs/$$run/descriptions.csv > runs/ablations/$$run.csv; done
	$(BIN)/dissectbench score $(foreach pair,$(ABLATIONS),runs/ablations/ablation-$(firstword $(subst :, ,$(pair))).csv) \
	  --references tinyworld --out runs/ablations \
	  metric=[tinyworld_clip_cosine,minilm_cosine,minilm_bertscore_f1,synonym_accuracy]
	printf '# Ablations of Describe-and-Dissect\n\nWritten by `make ablations`. [dnd.md](dnd.md#ablations) lists the override of each row.\nTarget: tinyworld-resnet, layer fc. Captioner: tinyworld-captioner. Generator: tinyworld-renderer. Key phrases take the\nplace of a language model.\n\n' \
	  > docs/methods/dnd_ablations.md
	sed 's/^### /## /' runs/ablations/tables/scores_fc.md >> docs/methods/dnd_ablations.md

# Builds the documentation with the reference of all public names in build/docs/html. A warning, such as a
# broken link, is an error.
docs: $(READY)
	$(BIN)/python docs/site/build.py build/docs

# Executes the notebook of the documentation and stores its outputs; a test compares them.
notebook: $(READY)
	$(BIN)/python tests/support/notebooks.py docs/notebook.ipynb

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Links through which type checkers find the namespace package; see docs/architecture.md.
.typecheck:
	mkdir -p .typecheck/dissectbench
	for package in harness methods metrics datasets results; do \
	  ln -sfn ../../$$package .typecheck/dissectbench/$$package; done

clean:
	rm -rf $(VENV) .typecheck build dist *.egg-info .pytest_cache .ruff_cache
