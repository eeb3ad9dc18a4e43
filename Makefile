# Everything a contributor or a CI runs. Needs Python 3.11+, git and make; the rest is set up below .venv and .tools.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
REPOS  ?=
COMMITS ?=
ONLY ?=
KILLS ?=
SEED ?=
SCALE  ?=
NIGHTS ?=
OSV    ?=
ROTATION ?= .rotation
PURGE ?=
TOOLS  := $(CURDIR)/.tools
# More than half of a test's time is waiting: for a disk, a process, a server.
TESTERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, (os.cpu_count() or 1) * 3))')
export NIGHTWARDEN_TOOLS ?= $(TOOLS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup tools demo test test-thorough lint format bench chaos hostile rotation-install rotation-up rotation-client rotation-down lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 17

setup: $(VENV)/.ready ## make .venv from the hash-pinned lock

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --no-compile --require-hashes --no-deps -r requirements-dev.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	# All processors compile at once, where pip would use one of them.
	$(PY) -m compileall -q -j 0 $(VENV)/lib flows tasks deployments || true
	touch $@

tools: $(VENV)/.ready ## install the scanners, each in an environment of its own below .tools
	$(VENV)/bin/nightwarden tools install

demo: tools ## patrol an organisation made on the spot twice and judge the result
	$(VENV)/bin/nightwarden demo

test: tools rotation-install ## run the tests, three files at a time for each processor
	$(PY) -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

test-thorough: export NIGHTWARDEN_THOROUGH := 1
test-thorough: test ## all tests, with all examples and sizes; takes half as long again

lint: $(VENV)/.ready ## ruff, mypy strict, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.ready ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: tools ## measure against a shell loop; REPOS=DIR adds your own repositories, COMMITS=REPO the last commits of one, SCALE=1000 many small ones, NIGHTS=365 a year of a million findings, OSV=DIR a million packages against an export of advisories
	$(PY) -m tests.bench.bench $(if $(REPOS),--repos $(REPOS))
	$(if $(COMMITS),$(PY) -m tests.bench.commits --repo $(COMMITS))
	$(if $(COMMITS),$(PY) -m tests.bench.flaps --repo $(COMMITS))
	$(if $(SCALE),$(PY) -m tests.bench.scale --repos $(SCALE))
	$(if $(NIGHTS),$(PY) -m tests.bench.year --nights $(NIGHTS))
	$(if $(OSV),$(PY) -m tests.bench.matching --osv $(OSV))
	$(if $(OSV),$(PY) -m tests.bench.one_advisory --osv $(OSV))

chaos: $(if $(filter-out rotation rotation-aws,$(or $(ONLY),all)),tools,setup) ## kill the patrol and rotations, fill the disk, take servers away; ONLY=NAME chooses, KILLS=N, SEED=N repeats
	$(PY) -m tests.chaos $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

hostile: tools ## patrol the hostile corpus at full scale (100,000 files, a 1 GB blob …) and print the figures
	NIGHTWARDEN_HOSTILE=full $(PY) -m pytest -s tests/hostile/test_corpus.py tests/hostile/test_tripwire.py

rotation-install: $(VENV)/.ready ## install the programs of the servers of rotation-up
	@$(PY) -m infra.rotation install $(if $(POSTGRESQL),--postgresql "$(POSTGRESQL)")

rotation-up: $(VENV)/.ready ## start a real OpenBao and a real PostgreSQL with a secret to rotate, below ROTATION=.rotation; POSTGRESQL=DIR names the programs of another PostgreSQL
	@$(PY) -m infra.rotation --state "$(ROTATION)" up $(if $(POSTGRESQL),--postgresql "$(POSTGRESQL)")

rotation-client: $(VENV)/.ready ## log in there with that secret all the time, until Ctrl-C
	@$(PY) -m infra.rotation --state "$(ROTATION)" client

rotation-down: $(VENV)/.ready ## end both servers; PURGE=1 removes what they hold, too
	@$(PY) -m infra.rotation --state "$(ROTATION)" down $(if $(PURGE),--purge)

lock: ## pin all dependencies anew (needs uv)
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.lock
	uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove what was set up
	rm -rf $(VENV) $(TOOLS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
