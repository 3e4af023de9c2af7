# `make run` and `make test` need nothing but make and Python 3.10: they set up what is missing.
PYTHON3 ?= python3
VENV ?= .venv
PYTHON := $(VENV)/bin/python
CLI := $(VENV)/bin/jupyter-launcher

# For `make run`.
PIPELINE_DIR ?= examples/pipeline
ONCE ?=

# For `make test`: most tests wait for a server, so more of them than cores run side by side. What failed among
# so many, on a machine that may stall, is run once more with no other of its kind: what fails again is broken.
WORKERS ?= 3
TOGETHER := -m 'not alone and not parts' tests/integration tests/browser tests/faults
ONCE_MORE := --last-failed --last-failed-no-failures none
# Which failed is remembered for each target, since two run at the same time.
PYTEST = -m pytest -o cache_dir=.pytest_cache/$@

# For `make test-engines`: all of scripts/engines.py, unless named.
ENGINES ?=

# For `make test-swarm`: those of scripts/swarm_matrix.py, unless named.
SWARM_ENGINES ?=

# For `make test-kernels`: the machine's own, unless named.
KERNEL_ENGINES ?=

# For `make test-images`: all folders of tests/images/others, unless named.
IMAGES ?=

# For `make bench`.
BENCH_VENV ?= .venv-bench
ROUNDS ?= 7
BENCH_FLAGS ?=

# For `make load`: `--write` puts the table into docs/performance.md.
LOAD_FLAGS ?= --write

# For the images, where the machine is behind a proxy: certificates to trust, and a package index.
CA_CERTIFICATES ?= $(wildcard /usr/local/share/ca-certificates/*.crt)
INDEX_URL ?=
BUILD_FLAGS = $(foreach file,$(CA_CERTIFICATES),--ca-certificate '$(file)') $(if $(INDEX_URL),--index-url '$(INDEX_URL)')

.DEFAULT_GOAL := help
.PHONY: help run test alone together docs test-eg test-newest-jupyter check unit integration browser faults soak test-engines test-swarm test-kernels test-images test-cgroup2 tools bench load pictures images engine engine-down venv wheel image-requirements clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

run: images ## a session for PIPELINE_DIR with a gateway, until Ctrl-C; ONCE=1: only prove it
	@$(PYTHON) examples/run_pipeline.py '$(PIPELINE_DIR)' $(if $(ONCE),--once)

# The unit tests need no engine, so the others run beside them; those that need the images for themselves come first.
test: check images tools ## lint, types, unit, integration and browser tests, and the fault suite
	@$(MAKE) --no-print-directory -j2 unit together

alone: images
	$(PYTHON) -m pytest -m alone tests/integration

together: alone
	$(PYTHON) $(PYTEST) -n $(WORKERS) $(TOGETHER) || $(PYTHON) $(PYTEST) $(ONCE_MORE) $(TOGETHER)

check: venv ## lint and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

unit: venv ## tests that need no engine, and what they cover
	$(PYTHON) -m coverage run $(PYTEST) tests/unit || $(PYTHON) -m coverage run --append $(PYTEST) $(ONCE_MORE) tests/unit
	$(PYTHON) scripts/coverage_floors.py

integration: images ## tests with real containers
	$(PYTHON) -m pytest tests/integration

browser: images tools ## tests in a real browser, in a frame and behind a reverse proxy
	$(PYTHON) -m pytest tests/browser

faults: images tools ## the fault suite in its long form; needs root, for an engine of its own
	LONG=1 $(PYTHON) -m pytest tests/faults tests/integration/test_processes.py tests/integration/test_engine_answers.py \
	  tests/integration/test_hostile.py

soak: images tools ## 500 starts and stops with random kills, on an engine of its own; needs root
	$(PYTHON) -m tests.faults.soak

test-engines: images ## the integration tests on other engines; ENGINES="docker-28 podman-5-rootless": on these; needs root
	$(PYTHON) scripts/engine_matrix.py $(ENGINES)

test-swarm: images tools ## sessions over three nodes of a Docker swarm, which are made here; SWARM_ENGINES="docker-28": of these engines; needs root
	$(PYTHON) scripts/swarm_matrix.py $(SWARM_ENGINES)

test-kernels: images ## kernels in containers of their own, with a storm of kills; KERNEL_ENGINES="docker-28 remote": on these engines, LONG=1: a long storm
	INDEX_URL='$(INDEX_URL)' $(PYTHON) -m tests.kernels.images "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)" \
	  "$$($(PYTHON) scripts/base_image.py python:3.11-slim bookworm)" $(CA_CERTIFICATES)
	$(PYTHON) -m pytest -m parts tests/integration
	$(PYTHON) scripts/kernel_matrix.py $(KERNEL_ENGINES)

test-images: engine venv ## a session of images in other people's styles, which are built from packages; IMAGES="pipx uv-tool": of these
	INDEX_URL='$(INDEX_URL)' $(PYTHON) scripts/image_matrix.py \
	  $(foreach file,$(CA_CERTIFICATES),--ca-certificate '$(file)') \
	  "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)" "$$($(PYTHON) scripts/base_image.py python:3.11-slim bookworm)" $(IMAGES)

test-cgroup2: images ## twelve integration tests in a virtual machine with control groups of version 2, in half an hour; needs root
	$(PYTHON) scripts/vm_engine.py

# What the fault suite makes its engine with, a registry to pull from, an sshd to go through, a browser
# and a reverse proxy; without them, or without root, those tests skip loudly. Where systemd would start
# the servers at once, they are not installed; by the run level, no other init starts them either.
tools:
	@[ "$$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null || \
	  RUNLEVEL=1 scripts/apt-install.sh iproute2 iptables e2fsprogs openssl chromium \
	    $$([ -d /run/systemd/system ] || echo docker-registry nginx openssh-server haproxy)

bench: images $(BENCH_VENV)/.made ## sessions beside their peers: docs/performance.md and its picture; ROUNDS=3, BENCH_FLAGS='--parts starts'
	$(BENCH_VENV)/bin/python -m benchmarks --rounds $(ROUNDS) $(BENCH_FLAGS)

load: images ## one launcher's load: starts at once, as many sessions as memory allows, 500 starts in a row; LOAD_FLAGS='--rounds 20'
	$(PYTHON) -m benchmarks.load $(LOAD_FLAGS)

# The peers and what draws the picture, apart from the development environment; and the hub's proxy,
# which only npm has.
$(BENCH_VENV)/.made: benchmarks/requirements.txt benchmarks/hub_proxy/package-lock.json pyproject.toml | venv
	@command -v npm >/dev/null || scripts/apt-install.sh nodejs npm
	$(PYTHON3) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt
	$(BENCH_VENV)/bin/python -m pip install --quiet --no-deps --editable .
	mkdir -p $(BENCH_VENV)/hub_proxy
	cp benchmarks/hub_proxy/package.json benchmarks/hub_proxy/package-lock.json $(BENCH_VENV)/hub_proxy
	cd $(BENCH_VENV)/hub_proxy && npm ci --silent
	@touch $@

docs: venv ## the documentation as HTML, in docs/_build/html; warnings are errors
	$(PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build/html

# What holds for the gateway of ours alone is left out.
test-eg: images tools ## the tests that use a gateway, with a Jupyter Enterprise Gateway as users bring it
	image=$$(INDEX_URL='$(INDEX_URL)' $(PYTHON) -m tests.images "$$($(PYTHON) scripts/base_image.py python:3.11-slim bookworm)" $(CA_CERTIFICATES)) && \
	$(PYTHON) -m pytest -n $(WORKERS) -m 'gateway and not alone' --ignore tests/integration/test_gateway_image.py \
	  --jupyter-gateway-image="$$image" tests/integration tests/browser

test-newest-jupyter: images ## what the patches of Jupyter lean on, and sessions, with the newest JupyterLab instead of the pinned one
	$(PYTHON) scripts/newest_jupyter.py

pictures: images tools ## the README's pictures anew, of a real run
	$(PYTHON) -m scripts.pictures

images: engine venv ## both images, from a registry's base image or from Debian packages
	@$(CLI) build jupyter-server $(BUILD_FLAGS) --base-image "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)"
	@$(CLI) build kernel-gateway $(BUILD_FLAGS) --base-image "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)"

engine: ## a Docker engine, brought up if there is none and this is root on Debian
	@scripts/engine.sh up

engine-down: ## end the engine that was brought up here
	@scripts/engine.sh down

venv: $(VENV)/.made

$(VENV)/.made: requirements-dev.txt pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "install Python 3.10 or newer, or name one: make PYTHON3=..." >&2; exit 1; }
	@$(PYTHON3) -c 'import ensurepip' 2>/dev/null || scripts/apt-install.sh python3-venv
	$(PYTHON3) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --requirement requirements-dev.txt
	$(PYTHON) -m pip install --quiet --no-deps --editable .
	@touch $@

wheel: venv ## the wheel, in dist/
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir dist .

image-requirements: engine venv ## pin anew what the images install, with the hashes of the files
	$(PYTHON) scripts/pin.py images/jupyter-server "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)"
	$(PYTHON) scripts/pin.py images/notebook "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)" images/jupyter-server
	$(PYTHON) scripts/pin.py images/kernel-gateway "$$($(PYTHON) scripts/base_image.py python:3.13-slim trixie)"
	$(PYTHON) scripts/pin.py tests/images/enterprise-gateway "$$($(PYTHON) scripts/base_image.py python:3.11-slim bookworm)"

clean: ## the venv and what was built here; images and containers stay
	rm -rf $(VENV) $(BENCH_VENV) dist build docs/_build .mypy_cache .pytest_cache .ruff_cache
