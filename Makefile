# Every target sets itself up: a virtual environment in .venv with exactly what it needs.
PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin

.PHONY: demo test test-all check comfy test-comfy clean

# install, draw with the demo model, print the report, write the pictures
demo: .venv/demo-ready
	mkdir -p demo-output
	$(BIN)/skipstep image "a red apple" --out demo-output/apple.png --steps 30 --cache balanced --seed 1 --compare

# style, types, layers, then every test that needs neither a GPU nor minutes; the core's own reach all of its lines
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/unit --cov=src/skipstep/deepcache --cov-fail-under=100
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --ignore=tests/unit

# the slow ones too, and those for a GPU where there is one
test-all: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --slow

check: .venv/test-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/bin/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/demo-ready: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet "$(TORCH)" --editable ".[cli,video]"
	touch $@

.venv/test-ready: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet "$(TORCH)" --editable ".[cli,openvino,plot,qlora,ray,service,train,video]" --group dev
	touch $@

# a real ComfyUI with the pack, to try it; the first time it installs 2 GB into .comfy
comfy:
	cd tools && $(PYTHON) -m comfy_host install
	cd tools && $(PYTHON) -m comfy_host start

# the tests against both pinned versions of ComfyUI; QUICK=1: some parameters of each test only
test-comfy:
	cd tools && $(PYTHON) -m comfy_host test $(if $(QUICK),--quick)

clean:
	rm -rf .venv demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage
