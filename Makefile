# One line each: `make demo` shows it, `make test` proves it. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(BIN)/python -m pip install --quiet --disable-pip-version-check)

.PHONY: demo test test-all check live record format mutants bench simulate clean

demo: $(VENV)/.demo          ## the main job, on a scripted server (or on OPEA_API_URL)
	@$(BIN)/opea demo

test: $(VENV)/.dev           ## the whole suite, without network
	@$(BIN)/python -m pytest -q -n auto --dist loadfile

check: $(VENV)/.dev          ## lint and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

live: $(VENV)/.dev           ## the recorded tests against running servers (OPEA_LIVE_LLAMA, OPEA_LIVE_EMBED, OPEA_LIVE_RERANK, OPEA_LIVE_LITELLM)
	@OPEA_LIVE=1 $(BIN)/python -m pytest -q tests/live

record: $(VENV)/.dev         ## record the cassettes again: from running servers, and the scripted ones
	@OPEA_RECORD=1 $(BIN)/python -m pytest -q tests/live
	@OPEA_RECORD=1 $(BIN)/python -m pytest -q tests/langchain/standard
	@OPEA_RECORD=1 $(BIN)/python -m pytest -q tests/llama_index/standard

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test-all: $(VENV)/.dev       ## with the long runs of stress and simulation
	@$(BIN)/python -m pytest -q -n auto --dist loadfile -m ""

mutants: $(VENV)/.dev        ## break the product in about eighty ways, and see that the tests notice (minutes)
	@$(BIN)/python tests/mutants/mutants.py -j 2

bench: $(VENV)/.dev          ## what it costs beside httpx, the openai SDK, langchain-openai and OpenAILike, each in its own environment (forty minutes)
	@$(INSTALL) -e '.[dev,bench]'
	@$(BIN)/python -m benchmarks.cost --growth

simulate: $(VENV)/.dev       ## outages and overloads on virtual time: the figures and plots of docs/resilience.md
	@$(INSTALL) -e '.[dev,bench]'
	@$(BIN)/python -m benchmarks.simulation

clean:
	rm -rf $(VENV) .bench build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	@$(if $(UV),$(UV) venv --quiet --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@$(INSTALL) -e '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo
