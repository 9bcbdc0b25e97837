GO       ?= go
FUZZTIME ?= 20s
PACKAGES ?= ./...
TOOL      = $(GO) tool -modfile=tools.mod
# The tests mostly wait: many at once, but not so many that they wait for each other.
CORES    := $(shell nproc 2>/dev/null || echo 2)
MODULE    = github.com/purgebot/purgebot
# SQLite is C translated to Go: none of ours, and ten times slower when watched.
RACE      = -race -gcflags='modernc.org/...=-race=false'

# Where a function that only tests call is dead: neither what others may import
# nor what is there for tests, nor a secret's refusals to be printed. No SQL
# writes an environment's state: its table, Environments, is for picture and tests.
OURS      = purgebot/(cmd|internal/(command|connlimit|demo|fetch|git|github|glob|ledger|pipeline|policy|report|server|stage|store|web)$$)

.PHONY: help demo build test race lint fmt tidy fuzz cover image check

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## play the whole product on this machine, with no account anywhere
	$(GO) run ./cmd/purgebot demo

build: ## build the static binary bin/purgebot
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/purgebot ./cmd/purgebot

# Compilers beside tests would take the time that those have: vet compiles first,
# on every core, and the packages' tests run one after the other.
test: ## run the tests, which mostly wait, many at once; needs Go and git alone
	$(GO) vet ./...
	$(GO) test -p 1 -vet=off -shuffle=on -parallel $$((6 * $(CORES))) $(PACKAGES)
	@[ -n "$$PURGEBOT_TEST_POSTGRES" ] || echo "not tried on PostgreSQL: PURGEBOT_TEST_POSTGRES names no server"

race: ## run all tests with the race detector (some minutes; needs a C compiler)
	CGO_ENABLED=1 $(GO) test $(RACE) -p 1 -vet=off -shuffle=on -parallel $$((4 * $(CORES))) -timeout 15m $(ARGS) $(PACKAGES)

lint: ## run every linter, and find functions that nothing calls
	$(TOOL) golangci-lint run ./...
	@dead=$$($(TOOL) deadcode -test ./... && $(TOOL) deadcode -filter '$(OURS)' ./... | sed '/: Environments$$/d'); \
	[ -z "$$dead" ] || { echo "$$dead"; exit 1; }

fmt: ## format the code as the linters want it
	$(TOOL) golangci-lint fmt ./...

tidy: ## tidy go.mod; tools.mod has modules of the tools alone, apart from the program's
	$(GO) mod tidy
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	cp tools.mod "$$dir/go.mod"; cp tools.sum "$$dir/go.sum"; $(GO) -C "$$dir" mod tidy; \
	cp "$$dir/go.mod" tools.mod; cp "$$dir/go.sum" tools.sum

# Only the code of this module guides the fuzzer, so nothing else is compiled anew.
# At the end of its time Go's fuzzer now and then takes its own deadline for a
# failure, with no input to show for it: such a target runs once more.
fuzz: ## run each fuzz target for FUZZTIME (20s)
	@set -e; bin=$$(mktemp); trap 'rm -f "$$bin"' EXIT; cache=$$($(GO) env GOCACHE)/fuzz; \
	grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r package; do \
		$(GO) test -c -gcflags='$(MODULE)/...=-d=libfuzzer' -o "$$bin" "$$package"; \
		grep -hoE '^func Fuzz[A-Za-z0-9]*' "$$package"/*_test.go | while read -r _ target; do \
			echo "== $$package $$target"; \
			run() { (cd "$$package" && "$$bin" -test.run '^$$' -test.fuzz "^$$target\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzminimizetime 1s -test.fuzzcachedir "$$cache/$$package" </dev/null 2>&1); }; \
			out=$$(run) || case $$out in \
				*"Failing input"*) echo "$$out"; exit 1 ;; \
				*"context deadline exceeded"*) echo "$$out"; out=$$(run) || { echo "$$out"; exit 1; } ;; \
				*) echo "$$out"; exit 1 ;; \
			esac; \
			echo "$$out"; \
		done || exit 1; \
	done

cover: ## show what the tests reach, in coverage.html
	$(GO) test -coverpkg ./... -coverprofile coverage.out ./...
	$(GO) tool cover -html coverage.out -o coverage.html
	$(GO) tool cover -func coverage.out | tail -n 1

image: ## build the container image purgebot:dev
	docker build -t purgebot:dev .

check: ## everything that must pass before a merge
	.ci/run
