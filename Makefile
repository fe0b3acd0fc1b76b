# The parts of a day's work. `make` alone lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
# run with the environment that the test cluster needs: kubeconfig, engine, tools
ON_CLUSTER = eval "$$(hack/cluster env)" &&
BACKUP ?=
FOLLOW ?=
PARTS ?=

.PHONY: help up down status image load install logs check docs prometheus kubevirt vcenter test bench demo format generate lock venv clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## a kind cluster of three nodes: reused, repaired or made (first time without an engine: 12 minutes)
	@hack/cluster up

down: ## remove the cluster, and the engine when it is ours
	@hack/cluster down

status: ## what is up
	@hack/cluster status

image: ## build both images; prints their names
	@hack/cluster build

load: ## build both images and put them into the cluster's workers
	@hack/cluster load

install: ## load, and install the chart with Helm (HELM_ARGS="--set ..." is added)
	@hack/cluster install

logs: ## controller, gateways and workers in order of time (BACKUP=name, FOLLOW=1)
	@hack/cluster logs $(if $(FOLLOW),--follow) $(BACKUP)

venv: ## .venv with the locked packages
	@$(PYTHON) hack/venv

check: venv ## the inner loop, without a cluster: format, lint, types, layers, generated files, locks, docs, unit, wiring
	@.venv/bin/python hack/check

docs: venv ## the documentation as a site in build/docs; a dead link or anchor fails
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

vcenter: ## govc and vcsim, with which OVAs are imported; without them these tests are skipped (first time: 2 minutes)
	@$(PYTHON) hack/vcenter

prometheus: ## Prometheus and promtool, which test alerts and queries; without them these tests are skipped (first time: 4 minutes)
	@$(PYTHON) hack/prometheus

kubevirt: ## KubeVirt's definition of a VirtualMachine, which restored ones are checked against; without it these tests are skipped
	@$(PYTHON) hack/kubevirt

# The cluster first: it brings helm, without which the chart's tests are skipped.
test: up prometheus kubevirt vcenter check ## everything: check, then API server, data plane, end to end and faults on the cluster
	@hack/test

bench: venv up install ## measure: a table, and build/bench.json (PARTS="data fixed idle")
	@$(ON_CLUSTER) .venv/bin/python -m hack.bench $(PARTS)

demo: up install venv ## one VM backed up and compared with its source; leaves the cluster up
	@$(ON_CLUSTER) hack/demo/run

format: venv ## put the code into its format, fix what can be fixed
	@.venv/bin/ruff format --quiet . && .venv/bin/ruff check --quiet --fix .

generate: venv ## write the CRDs, docs/reference/api.md, and the chart's annotations and README
	@.venv/bin/python -m sendense_operator.api.generate

lock: ## pin the newest versions that pyproject.toml allows, with hashes
	@$(PYTHON) hack/lock

clean: down ## remove the cluster and all that was made in the checkout (the cache stays: see hack/README.md)
	@rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
