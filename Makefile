# make help lists the targets.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -Eeuo pipefail -c
.DEFAULT_GOAL := help

# What is slow to make is kept outside the work tree.
COLLAB_CACHE ?= $(HOME)/.cache/collab-operator
tools := $(COLLAB_CACHE)/tools
export PATH := /usr/local/go/bin:$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ldflags := -s -w -X main.version=$(VERSION)

##@ The two commands

.PHONY: up test
up: ## Start a local Kubernetes, the operator and a sample CollabCluster; end with its address. PROVIDER=kind uses Docker.
	@hack/local-cluster/up.sh

test: ## Run every test (TESTFLAGS goes to go test).
	@hack/test/run.sh

##@ The local cluster

.PHONY: down
down: ## Stop the local cluster and leave nothing behind.
	@hack/local-cluster/down.sh

include hack/local-cluster/cluster.mk

##@ Quick loops

.PHONY: test-unit test-controlplane test-stores test-clients test-fuzz test-e2e lint fuzz bench-failover bench-crdt bench-editor
test-unit: $(tools)/gotestsum ## Run the tests that need no servers, with the race detector. Yjs from npm is the reference.
	@node=$$(hack/test/node.sh); export COLLAB_REQUIRE_NODE=1 PATH=$$node:$$PATH; \
		$(gotest) -- -race $(TESTFLAGS) $$(go list ./... | grep -vE '/test/e2e|$(node_tests)'); \
		$(gotest) -- $(TESTFLAGS) $$(go list ./... | grep -E '$(node_tests)')

# The control-plane programs come from the local cluster's build; the last line that build.sh prints is their folder.
test-controlplane: $(tools)/gotestsum ## Run the tests of the operator against a real API server.
	@bin=$$(hack/local-cluster/build.sh etcd kube-apiserver | tail -n 1); \
		COLLAB_BIN=$$bin $(gotest) -- -tags controlplane -timeout 15m $(TESTFLAGS) ./controllers/... ./test/controlplane/...

test-stores: $(tools)/gotestsum ## Run the tests of the editor against a real PostgreSQL and Redis.
	@hack/test/stores.sh
	@$(gotest) -- -race -tags stores -timeout 15m $(TESTFLAGS) \
		$$(grep -rl --include='*.go' '^//go:build stores' editor test | xargs -n 1 dirname | sort -u | sed 's,^,./,')

test-clients: ## Run unmodified y-websocket and Hocuspocus providers (2, 3, 4) against one process and against several pods.
	@hack/test/clients.sh

test-e2e: $(tools)/gotestsum ## Run unmodified Yjs clients against the local cluster while parts of it fail.
	@GOTESTSUM=$(tools)/gotestsum hack/test/e2e.sh $(TESTFLAGS)

bench-failover: ## Kill a document's owner ten times and print how long the next edit took to be stored.
	@hack/test/e2e.sh -run TestOwnerKillLatency -failover-rounds 10

bench-crdt: ## Measure the document engine, Yjs and ywasm side by side, for some ten minutes, and print a table.
	@go run ./test/bench/crdt $(BENCHFLAGS)

bench-editor: ## Measure this service, Hocuspocus and y-websocket's server side by side (BENCHFLAGS goes to the benchmark).
	@test/bench/editor/run.sh $(BENCHFLAGS)

lint: $(tools)/golangci-lint ## Run the linters.
	@$(tools)/golangci-lint run ./...

test-fuzz: ## Run every fuzz target briefly.
	@$(MAKE) --no-print-directory fuzz FUZZTIME=2000x

FUZZTIME ?= 1m
fuzz: ## Run every fuzz target for FUZZTIME (1m).
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do \
		grep -oE '^func Fuzz[A-Za-z0-9_]+' "$$file" | cut -d' ' -f2 | while read -r target; do \
			printf '==> %s (%s)\n' "$$target" "$$file"; \
			go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME); \
		done; \
	done

##@ Building

.PHONY: build generate manifests verify
build: ## Build the programs into bin/.
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(ldflags)' -o bin/ ./cmd/...

generate: $(tools)/controller-gen ## Generate deepcopy functions and apply configurations.
	@$(tools)/controller-gen object applyconfiguration:headerFile=/dev/null paths=./api/...

manifests: $(tools)/controller-gen ## Generate the CRDs and the operator's role, in config/ and in the chart.
	@$(tools)/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	@$(tools)/controller-gen rbac:roleName=collab-operator paths=./controllers/... output:rbac:dir=config/rbac
	@hack/chart.sh

generated = find api config charts -type f -exec sha256sum {} + | sort
verify: ## Check that what is generated is what make generate manifests makes.
	@before=$$($(generated)); $(MAKE) --no-print-directory generate manifests; \
		diff <(printf '%s\n' "$$before") <($(generated)) || { \
		printf 'these files were not as they are generated; they are now: look at them and commit them\n' >&2; exit 1; }

##@ Help

.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
		/^[a-zA-Z0-9_-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# These drive Node from one goroutine: the race detector would find nothing and take four times as long.
node_tests := /editor/crdt/difftest|/test/bench/
gotest = $(tools)/gotestsum --format pkgname --format-hide-empty-pkg

# The tools are pinned in hack/tools/go.mod and built once for each version of it.
$(tools)/%: hack/tools/go.mod
	@package=$$(go -C hack/tools list tool | grep -E '/$*(/v[0-9]+)?$$'); \
		printf 'building %s (first time only)\n' $*; \
		CGO_ENABLED=0 go -C hack/tools build -trimpath -o $@ "$$package" && touch $@
