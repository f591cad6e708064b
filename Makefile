# run    the server with the sample application, on http://localhost:8080 and :8081
# test   every check: format, vet, modules, all tests on SQLite and PostgreSQL with the race detector, browser tests
# bench  the Go benchmarks, then the load generator beside its null provider
# lint   what is worth a look besides: staticcheck, tidy modules, known vulnerabilities (asks the vulnerability database)

SHELL := /bin/bash
# Two packages at a time: the machine that counts has two cores, and a PostgreSQL and a browser run beside the tests.
# The race detector looks at our code and at what it shares memory with, not into what only computes (SQLite, which is C translated into Go, ciphers,
# compression, patterns: a third of the time without it) nor into the driver of the browser, which has a race of its own.
UNWATCHED := modernc.org github.com/chromedp crypto golang.org/x/crypto golang.org/x/net golang.org/x/text compress regexp math github.com/nyaruka
GOTEST := go test -race $(UNWATCHED:%=-gcflags=%/...=-race=false) -shuffle=on -p 2 -parallel 6 -timeout 14m

.PHONY: run test check bench lint

run:
	go run ./cmd/latchkey demo

test:
	@.ci/prepare
	@$(MAKE) --no-print-directory check

# The same without looking after the tools first.
check:
	@bad=$$(gofmt -s -l $$(git ls-files --cached --others --exclude-standard '*.go')); if [ -n "$$bad" ]; then echo "gofmt -s would change:"; echo "$$bad"; exit 1; fi
	go vet ./...
	go mod verify
	$(GOTEST) ./...

BENCH ?= .
bench:
	LATCHKEY_BENCH_ROWS=$${LATCHKEY_BENCH_ROWS:-1000000} LATCHKEY_BENCH_PEOPLE=$${LATCHKEY_BENCH_PEOPLE:-1000000} go test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 -timeout 60m ./...
	go run ./internal/opload compare -c 16 -d 10s -n 3 -w code,refresh,cc,introspect,userinfo,jwks
	go run ./internal/opload compare -c 16 -d 10s -n 3 -w code,refresh -alg ES256

TOOL := go tool -modfile=internal/tools/go.mod
lint:
	go vet ./...
	$(TOOL) staticcheck ./...
	go mod tidy -diff
	$(TOOL) govulncheck ./...
