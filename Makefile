# Targets: demo, test, lint, bench, fidelity, sanafe, fuzz, mutation; `make venv` makes the environment that they all use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo venv test test-slow lint bench fidelity sanafe fuzz mutation clean

demo: venv
	$(BIN)/snn2hw demo

venv: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "snn2hw needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,data,events,onnx,dev]'
	@# A peer for the tests; its wheel asks for torchvision, which it does not use for this.
	$(BIN)/python -m pip install --quiet --no-deps norse==1.1.0
	@# Another; its data sets need packages that its metrics do not import.
	$(BIN)/python -m pip install --quiet --no-deps neurobench==2.3.0
	@touch $@

# A process for each core; one that runs out of tests takes some of the others'.
APART := -n auto --maxprocesses 4 --dist worksteal

test: venv
	$(BIN)/python -m pytest -m "not slow" $(APART)

test-slow: venv
	$(BIN)/python -m pytest -m slow $(APART)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: venv
	$(BIN)/python tests/bench/speed.py
	$(BIN)/python tests/bench/where.py
	$(BIN)/python tests/bench/ways.py
	$(BIN)/python tests/bench/training.py
	$(BIN)/python tests/bench/files.py
	$(BIN)/python tests/results/placement.py
	rm -f docs/results/size.json && $(BIN)/python tests/bench/size.py

fidelity: venv
	$(BIN)/python tests/fidelity/sweep.py

sanafe: venv
	$(BIN)/python tests/sanafe/page.py

fuzz: venv
	$(BIN)/python tests/fuzz/run.py

mutation: venv
	$(BIN)/python tests/mutation/run.py

clean:
	rm -rf .venv runs builds
