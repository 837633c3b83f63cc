# Every target sets itself up first, in .venv: it takes Python 3.11 or newer, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
KILLS ?= 20
VICTIM ?= all
AGENTS ?= 3
SEED ?= 0
SEEDS ?= 0-299

EXTRAS_demo := embedded,plots,sklearn
EXTRAS_test := $(EXTRAS_demo),test
EXTRAS_check := $(EXTRAS_test),check

# mosquitto lives in /usr/sbin, which is not on an ordinary user's PATH; .venv may hold an unpacked one
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/local/sbin:/usr/sbin

.PHONY: help demo demo-figures test torture kills check format clean
.DELETE_ON_ERROR:

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' Makefile | expand -t 24

demo: $(VENV)/.ready-demo ## a federation of eight banks on this machine, on real data (ARGS="--dataset digits")
	@$(BIN)/antiphon demo $(ARGS)

demo-figures: $(VENV)/.ready-demo ## the demo's figures over ten splits
	@$(BIN)/antiphon demo --figures $(ARGS)

test: $(VENV)/.ready-test $(VENV)/.broker ## every test, with the branch coverage (ARGS="-k outbox")
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

torture: $(VENV)/.ready-test ## federations in bad weather, every invariant checked (SEEDS=0-2999)
	$(BIN)/python -m antiphon.simulation.torture --seeds $(SEEDS)

kills: $(VENV)/.ready-test $(VENV)/.broker ## real processes killed at random (KILLS=200 VICTIM=coordinator AGENTS=8 SEED=0)
	$(BIN)/python tests/kills.py --kills $(KILLS) --victim $(VICTIM) --agents $(AGENTS) --seed $(SEED)

check: $(VENV)/.ready-check ## format, lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.ready-check ## format, and correct what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove all that make made, the virtual environment too
	rm -rf $(VENV) build dist demo-output .coverage .coverage.* htmlcov *.egg-info
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready-%: pyproject.toml constraints.txt .ci/set-up
	@.ci/set-up "$(PYTHON)" $(VENV) "$(EXTRAS_$*)"
	@touch $@

$(VENV)/.broker: .ci/get-mosquitto | $(VENV)/.ready-test
	@.ci/get-mosquitto $(VENV)
	@touch $@
