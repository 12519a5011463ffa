# The README's commands, and nothing more. Everything is installed into .venv by the first of them.
PYTHON := $(or $(PYTHON),python3)
VENV := .venv
RUN := $(VENV)/bin/
CHECKOV := build/checkov
KILLS ?= 50
SEED ?= 1
SEEDS ?= 300
FROM ?= 1
SECONDS ?= 60
MINUTES ?= 10
JOBS ?= 100
RELEASE ?= $(shell date +%s)

.PHONY: setup demo demo-kill test verify simulate chaos fuzz bench-decision bench-smoke mutation promptfoo infra-check cost infra-plan infra-apply deployed-check report lint requirements lock clean

setup: $(VENV)/.installed

# The lock names everything: pip resolves nothing, or it would go beyond the pins where a package asks for an extra.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN)pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(RUN)pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup
	$(RUN)ratchet demo --report build/demo-report.json

demo-kill: setup
	$(RUN)ratchet demo --kills $(KILLS) --seed $(SEED) --report build/demo-kill-report.json

lint: setup
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports

test: lint
	$(RUN)pytest tests/unit --numprocesses 2 --dist loadgroup --cov --cov-report=term:skip-covered --cov-fail-under=95
	$(RUN)pytest tests/contract tests/integration tests/simulation tests/fuzz --numprocesses 2 --dist loadgroup
	$(RUN)pytest tests/e2e

# The long forms of what `make test` searches; each leaves its figures for `make report`.
verify: lint
	RATCHET_TESTS=long $(RUN)pytest tests/unit tests/contract tests/integration tests/simulation tests/fuzz --numprocesses 2 --dist loadgroup --timeout 7200
	$(MAKE) simulate SEEDS=20000
	$(MAKE) chaos
	$(MAKE) fuzz

simulate: setup
	PYTHONPATH=shared:tests PYTHONHASHSEED=0 $(RUN)python -m simulation --seeds $(SEEDS) --from $(FROM)

chaos: setup
	PYTHONPATH=shared:tests $(RUN)python -m chaos --seconds $(SECONDS)

fuzz: setup
	PYTHONPATH=shared:tests $(RUN)python -m fuzz --minutes $(MINUTES)

bench-decision: setup
	PYTHONPATH=shared:tests $(RUN)python -m bench.decision

bench-smoke: setup
	PYTHONPATH=shared:tests $(RUN)python -m bench.smoke

# Resumes module by module; MODULE=gates tries one alone.
mutation: setup
	PYTHONPATH=shared:tests nice -n 10 $(RUN)python -m mutation $(if $(MODULE),--module $(MODULE))

# The version is the test's own: it compares with no other. Only node's script is run, which picks the binary.
promptfoo:
	npm install --prefix build/promptfoo --silent --no-audit --no-fund --no-package-lock --ignore-scripts promptfoo@0.121.20
	npm install --prefix build/promptfoo --silent --no-audit --no-fund --no-package-lock node@22.23.3

# Terraform offline where the tool for it lies beside the project, else with its own providers; neither: it says so.
infra-check: setup $(CHECKOV)/.installed
	$(RUN)pytest tests/infra --numprocesses 2 --dist loadgroup
	cd infra && ../$(CHECKOV)/bin/checkov --directory . --skip-download --compact --quiet

cost: setup
	PYTHONPATH=shared:tests $(RUN)python -m bench.cost --jobs $(JOBS)

# What a deployment does, step by step; VARS is your .tfvars, STATE the bucket of Terraform's state.
infra-plan:
	terraform -chdir=infra init -input=false -backend-config=bucket=$(STATE)
	terraform -chdir=infra plan -input=false -var-file=$(abspath $(VARS)) -var release=$(RELEASE) -out=$(CURDIR)/build/plan

infra-apply:
	terraform -chdir=infra apply -input=false $(CURDIR)/build/plan

# A signature is asked for before anything else: whoever has none is told so by the function itself.
deployed-check:
	test "$$(curl --silent --output /dev/null --write-out '%{http_code}' --request POST \
		--header 'content-type: application/json' --data '{}' "$$(terraform -chdir=infra output -raw webhook_url)")" = 401

# In an environment of its own: it pins half of what we use to other versions.
$(CHECKOV)/.installed:
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30
	touch $@

report: setup
	PYTHONPATH=shared:tests $(RUN)python tests/report.py

# Needs the package index: only when pyproject.toml's dependencies change.
lock:
	$(RUN)uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock

requirements: setup
	$(RUN)python -m ratchet_cli.requirements

clean:
	rm -rf build $(VENV)
