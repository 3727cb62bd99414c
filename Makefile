# Everything that a person or CI runs. `make demo` and `make test` do their own
# set-up on a fresh machine; the other targets assume it was done once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO       ?= go
PREFIX   ?= /usr/local
BENCH    ?= .
FUZZTIME ?= 30s
# A folder of <sha256>.crt with the vendors' real certificates. Without one the
# tests of the real bundles are not selected.
CERT_STORE ?= $(wildcard ../shared/tpm-ca/certs)
# Programs that tests must find; see internal/testenv.
SEALSMITH_REQUIRE ?= all

# An environment may switch the version stamp off; in a clone we want it.
VCS   := $(if $(wildcard .git),-buildvcs=true)
BUILD := CGO_ENABLED=0 $(GO) build -trimpath $(VCS) -ldflags '-s -w'
# The agent speaks HTTP/1.1 on a socket of its own and no other HTTP. What it links
# and runs never, seldom, or no faster for it, is compiled without inlining, for a
# twentieth of its size.
SMALL := crypto/tls crypto/x509 net net/http regexp regexp/syntax go.yaml.in/yaml/v3 \
	github.com/google/go-tpm/tpm2 github.com/sealsmith/sealsmith/...
AGENT := -tags nethttpomithttp2 $(SMALL:%=-gcflags=%=-l)
OUT   ?= bin/

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: setup
setup: ## install the programs that the demo and the tests talk to
	@scripts/setup

.PHONY: tools
tools: ## build cosign, a registry and the checkers into bin/tools
	@scripts/tools

.PHONY: agent
agent: # tests have it built elsewhere: make agent OUT=path
	@$(BUILD) $(AGENT) -o '$(OUT)' ./cmd/sealsmith-agent

.PHONY: programs
programs: agent
	@# gRPC's request traces are pages for a browser; without them the linker leaves
	@# out what a template might call, a quarter of the program.
	@$(BUILD) -tags grpcnotrace -o bin/ ./cmd/sealsmith

.PHONY: build
build: programs ## build the programs, man pages and shell completions into bin
	@mkdir -p bin/man bin/completions
	@SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct 2>/dev/null || date +%s)" $(GO) run ./internal/mangen bin/man
	@cp docs/man/*.1 bin/man/
	@bin/sealsmith completion bash > bin/completions/sealsmith
	@bin/sealsmith completion zsh > bin/completions/_sealsmith
	@bin/sealsmith completion fish > bin/completions/sealsmith.fish

.PHONY: demo
demo: setup programs ## the whole job end to end on a software TPM
	@scripts/tools registry
	@CERT_STORE='$(CERT_STORE)' scripts/demo

.PHONY: test
test: setup tools ## all tests
	SEALSMITH_REQUIRE='$(SEALSMITH_REQUIRE)' $(GO) test ./...
	$(if $(CERT_STORE),$(GO) test ./bundle/realtest -certs '$(abspath $(CERT_STORE))',@echo 'no certificate store: the tests of the real bundles are left out')

.PHONY: race
race: ## all tests under the race detector
	SEALSMITH_REQUIRE='$(SEALSMITH_REQUIRE)' $(GO) test -race ./...

.PHONY: check
check: ## gofmt, vet, staticcheck, layering, spelling of shell scripts
	@scripts/tools staticcheck
	@test -z "$$(gofmt -s -l $$(git ls-files '*.go'))" || { gofmt -s -d $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	bin/tools/staticcheck ./...
	$(GO) test ./internal/archtest
	@for script in scripts/* .ci/run; do bash -n "$$script"; done

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: bench
bench: ## figures as ratios: make bench BENCH=agent/
	@$(GO) test -c -o bin/bench.test ./internal/bench
	@cd internal/bench && ../../bin/bench.test -figures '$(BENCH)' | sed '/^PASS$$/d'

# Only copies, so that root needs no Go: run `make build` first.
SHARE := $(DESTDIR)$(PREFIX)/share
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd
.PHONY: install
install: ## install what `make build` made below PREFIX (/usr/local)
	@test -x bin/sealsmith -a -d bin/man || { echo 'install: error: nothing is built' >&2; echo 'install: hint: run make build first' >&2; exit 1; }
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(SHARE)/man/man1' '$(SHARE)/bash-completion/completions' '$(SHARE)/zsh/site-functions' '$(SHARE)/fish/vendor_completions.d'
	install -m 755 bin/sealsmith bin/sealsmith-agent '$(DESTDIR)$(PREFIX)/bin/'
	install -m 644 bin/man/*.1 '$(SHARE)/man/man1/'
	install -m 644 bin/completions/sealsmith '$(SHARE)/bash-completion/completions/'
	install -m 644 bin/completions/_sealsmith '$(SHARE)/zsh/site-functions/'
	install -m 644 bin/completions/sealsmith.fish '$(SHARE)/fish/vendor_completions.d/'
	install -d '$(UNITS)/user' '$(UNITS)/system'
	install -m 644 internal/systemd/user/* '$(UNITS)/user/'
	install -m 644 internal/systemd/host/* '$(UNITS)/system/'
	sed -i.tmp 's|@AGENT@|$(PREFIX)/bin/sealsmith-agent|' '$(UNITS)/user/sealsmith-agent.service' '$(UNITS)/system/sealsmith-host.service'
	rm '$(UNITS)/user/sealsmith-agent.service.tmp' '$(UNITS)/system/sealsmith-host.service.tmp'

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
