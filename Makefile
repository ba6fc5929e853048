.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PYTHON ?= python3
# Tests and benchmarks start hundreds of processes: each module is compiled once, not by each.
unexport PYTHONDONTWRITEBYTECODE

# What the demo runs on Debian, and what only the tests need besides.
DEMO_COMMANDS := beanstalkd redis-server nagios4 monitoring-plugins font cairo venv
TEST_COMMANDS := $(DEMO_COMMANDS) nrpe check_nrpe nsca send_nsca icinga2 stunnel npm \
	rabbitmq gearmand gearadmin postgresql mariadbd sidekiq php illuminate-queue \
	illuminate-worker pheanstalk predis monolog cc systemd-notify \
	prometheus prometheus-alertmanager curl chromium mmdebstrap systemd-nspawn

# The Debian in which the tests start the units, where it can be booted: by root, in namespaces.
MACHINE := $(shell test "$$(id -u)" = 0 && unshare --mount --pid --fork true 2>/dev/null && echo .machine/.installed)

.PHONY: help setup setup-test lint format dashboards test nightly lowest soak night situations container docs pictures bench dist demo clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: debian .venv/.installed .graphite/.installed ## install what the demo needs (quick when nothing is to do)

setup-test: DEMO_COMMANDS := $(TEST_COMMANDS)
setup-test: setup .statsd/.installed .frameworks/.installed .adapters/.installed .browser/.installed $(MACHINE) ## the same, and what only the tests need

.PHONY: debian
debian:
	@tests/setup.sh debian $(DEMO_COMMANDS)

.venv/.installed: pyproject.toml | debian
	@tests/setup.sh venv .venv

.graphite/.installed: tests/setup.sh | debian
	@tests/setup.sh graphite .graphite

.statsd/.installed: tests/setup.sh | debian
	@tests/setup.sh statsd .statsd

.frameworks/.installed: tests/setup.sh | debian
	@tests/setup.sh frameworks .frameworks

.adapters/.installed: tests/setup.sh .venv/.installed | debian
	@tests/setup.sh adapters .adapters .venv

.browser/.installed: tests/setup.sh .venv/.installed | debian
	@tests/setup.sh browser .browser .venv

lint: .venv/.installed ## ruff, mypy --strict, import-linter, generated files
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/python -m beanwatch.grafana.generator --check

format: .venv/.installed ## let ruff put the code in shape
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

dashboards: .venv/.installed ## write Grafana's dashboards and alert rules anew
	.venv/bin/python -m beanwatch.grafana.generator

# Where it cannot be made, the tests of the units say so and are skipped.
.machine/.installed: .venv/.installed .machine/base
	-@tests/setup.sh machine-packages .machine/base .venv

.machine/base: | debian
	-@tests/setup.sh machine $@

SUITE = .venv/bin/pytest -n 6 --reruns 2 $(PYTEST)
RUNS = 8

test: setup-test lint ## set up, lint, and run every test against real servers
	$(SUITE)

nightly: setup-test ## run the tests again and again, with other examples each time, alone and beside busy loops (RUNS=8, SUITE="...")
	.venv/bin/python -m tests.nightly $(RUNS) $(SUITE) --hypothesis-profile=search

lowest: ## run every test with the lowest version of each dependency, in a copy of what is committed
	rm -rf .lowest && git clone --quiet . .lowest
	$(MAKE) -C .lowest setup-test LOWEST=1
	cd .lowest && .venv/bin/python -m pytest -W default -n 6 $(PYTEST) # the interpreter as uv names it

docs: .venv/.installed ## write the reference from the code, build the site, check every link
	.venv/bin/python -m tests.operations.reference
	.venv/bin/zensical build --clean --strict --config-file docs/zensical.toml

pictures: DEMO_COMMANDS += npm chromium
pictures: setup .browser/.installed ## take the pictures of the live page in docs/img anew, of a fleet in trouble
	$(if $(filter 0,$(shell id -u)),unshare --uts sh -c 'hostname media1 && exec "$$@"' sh) .venv/bin/python -m tests.pictures

bench: setup-test .bench/.installed ## measure everything, as ratios, into bench/README.md (15 minutes)
	.venv/bin/python -m bench

.bench/.installed: | debian
	$(PYTHON) -m venv .bench
	.bench/bin/pip install --quiet rq 'dramatiq[redis]' huey 'celery[redis]'
	@touch $@

dist: .venv/.installed ## build sdist and wheel into dist, and test both
	rm -rf dist
	.venv/bin/python -m hatchling build -t sdist -d dist
	.venv/bin/pip wheel --quiet --no-deps --wheel-dir dist dist/*.tar.gz
	BEANWATCH_DIST=$(CURDIR)/dist .venv/bin/pytest tests/test_packaging.py

soak: setup-test ## half an hour of kills, freezes, cuts and deploys of workers of all kinds: judges lost jobs and alerts (SOAK="--healthy 1")
	.venv/bin/python -m tests.soak $(SOAK)

night: setup-test ## troubles in a random order, on Nagios and on Icinga 2; judges each mail (NIGHT="--seed 1")
	.venv/bin/python -m tests.night $(NIGHT)

container: DEMO_COMMANDS += mmdebstrap ip
container: setup .container/base ## build and run the container of the docs in a bare Debian root (as root)
	rm -rf .container/wheel
	.venv/bin/python -m hatchling build -t wheel -d .container/wheel
	.venv/bin/python -m tests.container
	unshare --net sh -c 'ip link set lo up && exec .venv/bin/pytest -m container tests/container -v $(PYTEST)'

.container/base: | debian
	@tests/setup.sh container $@

situations: setup-test ## workers of Celery, RQ and Dramatiq in a hundred situations; judges what the check says (SITUATIONS="--seed 1")
	.venv/bin/python -m tests.adapters $(SITUATIONS)

demo: DEMO_COMMANDS += $(if $(PROMETHEUS),prometheus prometheus-alertmanager)
demo: DEMO_COMMANDS += $(if $(WORKERS),php pheanstalk predis monolog systemd-notify)
demo: $(if $(QUEUES),setup-test,setup) $(if $(WORKERS),.adapters/.installed) ## the whole chain on real servers, with trouble and alerts (KEEP=1 leaves it running, QUEUES=all: every queue system, WORKERS=all: every kind of worker, PROMETHEUS=1: its alerts too)
	@.venv/bin/python -m tests.demo $(if $(KEEP),--keep) $(if $(QUEUES),--queues $(QUEUES)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(PROMETHEUS),--prometheus)

clean: ## remove everything that was installed or built here
	rm -rf .venv .graphite .statsd .frameworks .adapters .browser .lowest .container .machine .demo .bench dist docs/_site docs/.cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
