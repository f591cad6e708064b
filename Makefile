# run    the server with the sample application, on http://localhost:8080 and :8081
# test   every check: format, vet, modules, all tests on SQLite and PostgreSQL with the race detector, browser tests
# bench  the Go benchmarks, then the load generator beside its null provider
# lint   what is worth a look besides: staticcheck, tidy modules, known vulnerabilities (asks the vulnerability database)

SHELL := /bin/bash
# Two packages at a time: the machine that counts has two cores, and a PostgreSQL and a browser run beside the tests.
# The race detector looks at our code and at all that shares memory with it, not into what only computes: SQLite (C translated into Go), arithmetic of
# ciphers, compression, patterns. That is two thirds of the time. Such a package must not instantiate generics of sync/atomic: the linker may take its copy,
# which nobody watches, for the whole program, and then sees races that are none.
UNWATCHED := modernc.org/sqlite/lib modernc.org/libc golang.org/x/crypto/argon2 golang.org/x/crypto/blake2b golang.org/x/crypto/bcrypt \
	golang.org/x/crypto/blowfish crypto/internal/fips140/bigmod crypto/internal/fips140/rsa crypto/internal/fips140/nistec/... \
	crypto/internal/fips140/edwards25519/... crypto/internal/fips140/sha256 crypto/internal/fips140/pbkdf2 crypto/internal/fips140/mlkem \
	math/big compress/flate regexp regexp/syntax golang.org/x/net/html/... github.com/nyaruka/phonenumbers/...
GOTEST := go test -race $(UNWATCHED:%=-gcflags=%=-race=false) -shuffle=on -p 2 -parallel 6 -timeout 14m

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
