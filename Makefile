# Berth. `make help` lists what there is; everything else runs on the node that npm places in node_modules.
SHELL := /bin/sh
.DEFAULT_GOAL := help

bin := $(CURDIR)/node_modules/.bin
node := $(bin)/node
machine_path := $(PATH)
export PATH := $(bin):$(PATH)

.PHONY: help quickstart quickstart-down build image chart test lint bench bench-quick bench-peers bench-operator bench-collect fuzz simulate chaos integration e2e e2e-up e2e-down clean preflight

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

quickstart: build ## Two simulated nodes on this machine, with pods that get addresses and ping each other
	@hack/preflight quickstart
	@$(node) e2e/quickstart/up.ts

quickstart-down: node_modules/.stamp ## Remove every trace of the quickstart
	@$(node) e2e/quickstart/down.ts

build: node_modules/.stamp ## Build dist/: the CNI binary, agent, operator and installer
	@$(node) hack/build.ts

image: build ## dist/image-*.tar for docker load and kind load: ARCH="amd64 arm64", by default this machine's
	@$(node) hack/image.ts $(ARCH)

chart: node_modules/.stamp ## dist/berth-*.tgz, the chart, with REPOSITORY=… as where its image is
	@$(node) hack/chart.ts $(REPOSITORY)

test: build lint ## Everything: build, lint, unit and integration tests on a real API server
	@hack/preflight test
	@$(node) hack/test.ts

lint: node_modules/.stamp ## Types, lint rules, format, import directions, generated files
	@$(node) hack/lint.ts

bench: build ## Measure allocation against the raw create rate of a real API server
	@hack/preflight test
	@npm run --silent bench

bench-quick: build ## The same in less than three minutes, with less of each
	@hack/preflight test
	@BENCH_QUICK=1 npm run --silent bench

fuzz: build ## 100,000 odd inputs for binary, socket and annotations (BERTH_FUZZ_SEED repeats a run)
	@hack/preflight test
	@$(node) e2e/fuzz/main.ts

bench-peers: build ## Berth beside Whereabouts, which is built with Go the first time, and host-local
	@hack/preflight test
	@npm run --silent bench-peers

bench-operator: build ## Measure the operator's memory, start and CPU with up to 250,000 reservations
	@npm run --silent bench-operator

bench-collect: build ## Measure how long 10,000 orphans take, and what is asked for (BENCH_ORPHANS: another number)
	@hack/preflight test
	@npm run --silent bench-collect

integration: build ## The integration tests alone
	@hack/preflight test
	@$(node) hack/test.ts --project integration

chaos: build ## 20 minutes of load, kills, pauses and restores on a real API server: [MINUTES=20] [SEED=n] [JSON=file]
	@hack/preflight test
	@$(node) e2e/chaos/main.ts --minutes '$(MINUTES)' --seed '$(SEED)' --json '$(JSON)'

e2e: image ## Real kubelets, containerd, Multus and pods, on a kind cluster, which is removed again
	@hack/preflight e2e
	@$(node) e2e/kind/main.ts

e2e-up: image ## The kind cluster of `make e2e`, without Berth, left there to look at
	@hack/preflight e2e
	@$(node) e2e/kind/up.ts

e2e-down: node_modules/.stamp ## Remove the kind cluster, its daemon, and what they changed on this machine
	@$(node) e2e/kind/down.ts

simulate: node_modules/.stamp ## Search for broken promises: SEEDS=1000 [FROM=1], or replay one: SEED=17 [STEPS=3,8]
	@$(node) e2e/simulation/main.ts --seeds '$(SEEDS)' --from '$(FROM)' --seed '$(SEED)' --steps '$(STEPS)'

clean: ## Remove what was built
	rm -rf dist bench/out coverage
	@echo "Kept: node_modules, and the control plane's cache $${XDG_CACHE_HOME:-$$HOME/.cache}/berth (rm -r it to fetch or build it again)"

# npm runs again only when the lock file changed, or what it made is gone. It runs on the machine's own node, as it
# removes the one in node_modules first.
node_modules/.stamp: package-lock.json package.json
	@hack/preflight build
	@PATH='$(machine_path)' hack/install
	@touch $@
