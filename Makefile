# The whole project in a handful of verbs; `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run dev test test-browser test-servers test-clients crash race disk wake drain sim mutants attacks fuzz lint fmt bench clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "make %-14s %s\n", $$1, $$2}'

$(VENV)/run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Keyfob needs Python 3.11 or newer; try: make PYTHON=python3.12 run"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No venv module here. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing Keyfob into $(VENV) ..."
	@$(PIP) install --upgrade pip && $(PIP) install -c constraints.txt -e . # an old pip's start script imports re: 6 ms a call
	@touch $@

$(VENV)/dev: $(VENV)/run
	@echo "Installing the development tools ..."
	@$(PIP) install -c constraints.txt --group dev
	@touch $@

run: $(VENV)/run ## first login and live events, in a temporary place
	@exec $(BIN)/keyfob demo

dev: $(VENV)/dev ## make the development environment

test: $(VENV)/dev ## the whole test suite but the browser, the foreign servers and clients
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

$(VENV)/browser: $(VENV)/dev
	@$(PIP) install -c constraints.txt --group browser
	@touch $@

test-browser: $(VENV)/browser ## walk the web page in a real Chromium (needs chromium, and npm for one walk)
	$(BIN)/python -m pytest tests/browser

$(VENV)/clients: $(VENV)/dev
	@$(PIP) install -c constraints.txt --group clients
	@touch $@

test-servers: $(VENV)/dev ## walk the real authorization servers (needs npm)
	tests/servers/run

FOREIGN := $(VENV)/foreign

$(FOREIGN)/ready: $(VENV)/dev
	@$(PYTHON) -m venv $(FOREIGN)
	@$(FOREIGN)/bin/python -m pip --disable-pip-version-check --quiet install "pip>=25.1"
	@$(FOREIGN)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt --group oauth-clients
	@touch $@

test-clients: $(VENV)/clients $(FOREIGN)/ready ## programs and libraries that ask Keyfob, unmodified; what is not here is left out
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/clients

crash: $(VENV)/dev ## kill the daemon 200 times while it refreshes 400 accounts, twice (10 minutes)
	$(BIN)/python -m tests.lanes crash

race: $(VENV)/dev ## 500 requests for one expired token; then 20 programs that share a login (11 minutes)
	$(BIN)/python -m tests.lanes race
	$(BIN)/python -m tests.lanes story

disk: $(VENV)/dev ## lock, fill and damage the database under a running daemon (needs a C compiler)
	$(BIN)/python -m tests.lanes disk

wake: $(VENV)/dev ## 300 accounts whose tokens all end while the machine sleeps (2 minutes)
	$(BIN)/python -m tests.lanes wake

drain: $(VENV)/dev ## SIGTERM while 20 refreshes wait (2 minutes)
	$(BIN)/python -m tests.lanes drain

sim: $(VENV)/dev ## 1,000 seeds x 72 simulated hours of faults; SEED=123 replays one
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(HOURS),--hours $(HOURS))

mutants: $(VENV)/dev ## break the promise on purpose, one way after the other: a named test notices each (1 minute)
	$(BIN)/python -m tests.mutants

attacks: $(VENV)/dev ## take one guard away after the other: an attack from outside succeeds and is noticed (5 minutes)
	$(BIN)/python -m tests.attacks

$(VENV)/fuzz: $(VENV)/dev
	@$(PIP) install -c constraints.txt --only-binary atheris --group fuzz || echo "atheris cannot be installed here; hypothesis takes its place."
	@touch $@

fuzz: $(VENV)/fuzz ## foreign bytes for every parser, guided by coverage (20 minutes); TARGET=json SECONDS=60
	$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(TARGET)

lint: $(VENV)/browser ## ruff, mypy strict, import floors, bandit, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive broker migrations
	$(BIN)/python -m tests.pins

fmt: $(VENV)/dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev ## every figure beside its baseline, and what is worse than on record; ONLY="tokens proxy"
	$(BIN)/python -m benchmarks $(ONLY)

clean: ## remove what make made
	rm -rf $(VENV) dist build artifacts
