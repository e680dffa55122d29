# run and test take Go and make alone, build and lint the SAM CLI, too.

.DEFAULT_GOAL := help
.PHONY: run install test simulate soak bench build pictures deployment release image e2e lint help build-RotateFunction build-VendFunction

# Without a version from git, which refuses to read a checkout that belongs to somebody else.
export GOFLAGS := $(shell go env GOFLAGS) -buildvcs=false

## make run     the main job on this machine, until Ctrl-C
##              ONCE=1: until the first vend
##              COMMUNIC8=refusing (busy, down, exclusive, revoking): an incident to practise on
##              SAM=1: only the fakes, for sam local in another terminal
# Not by go run, which ends badly on Ctrl-C and leaves its child behind on SIGTERM.
run:
	@go build -o .aws-sam/local ./internal/local && \
		exec .aws-sam/local $(if $(ONCE),-once) $(if $(SAM),-sam) $(if $(COMMUNIC8),-communic8 $(COMMUNIC8))

## make install  the tool c8auth, where go install puts it
# Its version is the commit's, unless git does not read the checkout.
install:
	go install -buildvcs=$(VCS) ./cmd/c8auth

VCS = $(if $(shell git rev-parse HEAD 2>/dev/null),auto,false)

## make test    all tests that need no Docker and no AWS
test:
	$(if $(RACE),,@echo 'make test: without the race detector, as cgo is off or finds no C compiler')
	go test $(RACE) ./...

# The race detector takes cgo, which Go turns off by itself where no C compiler is.
RACE = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

## make simulate  years of operation with every fault, simulated in seconds
##              SEEDS=1000: that many runs, FIRST=7: from that seed on; SEED=7: that one,
##              with its history in .aws-sam/history; MUTANTS=1: whether it finds deliberate
##              defects
SEEDS ?= 100
FIRST ?= 1
# Fewer garbage collections take a quarter off its time.
simulate: export GOGC = 400
simulate:
ifdef MUTANTS
	go run ./internal/sim/mutants
else ifdef SEED
	@mkdir -p .aws-sam
	cd internal/sim && go test -count=1 -run TestInvariants -seeds 1 -first $(SEED) -history $(CURDIR)/.aws-sam/history
else
	cd internal/sim && go test -count=1 -timeout 0 -run TestInvariants -seeds $(SEEDS) -first $(FIRST)
endif

## make soak    the real vend under load, while rotate rotates and Secrets Manager fails
##              REQUESTS=20000: that many instead of 300,000
REQUESTS ?= 300000
soak:
	cd internal/soak && go test -tags soak -count=1 -timeout 0 -requests $(REQUESTS)

## make bench   both functions compared with simple ones, in ratios
##              COLDS=3 WARMS=200: how often, for a first look
bench:
	go run ./internal/bench $(if $(COLDS),-colds $(COLDS)) $(if $(WARMS),-warms $(WARMS))

## make pictures  the pictures of docs/, and the tables that programs compute
pictures:
	go test -count=1 -run 'Picture|TestNight|TestPages' ./internal/docs ./internal/scale ./cmd/c8auth -update

## make build   sam build
##              ARCH=x86_64: for that processor instead of arm64
build:
	@$(NEED_SAM)
	ARCH=$(ARCH) sam build --parameter-overrides Architecture=$(ARCH)

## make deployment  the life of a deployment, step by step, on an emulator of AWS
##              AWS=1: on your AWS account instead, after it has said what it makes
##              RELEASE=dir: from the files of a release there, without a build
##              FAULTS=1: plants faults, and shows which step notices each
# Not by go run, which ends badly on Ctrl-C and leaves its child behind on SIGTERM.
deployment:
	@$(NEED_SAM)
	@command -v python3 >/dev/null || { echo 'make $@: python3 is missing'; exit 1; }
	@go build -o .aws-sam/deployment ./internal/deployment && \
		exec .aws-sam/deployment $(if $(AWS),-aws) $(if $(RELEASE),-release '$(RELEASE)') $(if $(FAULTS),-faults)

## make release  every file of a release, in .aws-sam/release, from the commit that is checked out
##              TAG=v1.2.3: only if that is the commit's tag; QUICK=1: the tool for Linux alone
release:
	go run -C .ci/tools ./release $(if $(TAG),-tag $(TAG)) $(if $(QUICK),-quick)

## make image   the container image c8auth, for c8auth proxy as a sidecar
##              CERTIFICATES=file: whose authorities it trusts
CERTIFICATES ?= $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
image:
	@$(NEED_DOCKER)
	mkdir -p .aws-sam/image/run
	cp $(CERTIFICATES) .aws-sam/image/ca-certificates.crt
	CGO_ENABLED=0 GOOS=linux go build -buildvcs=$(VCS) -trimpath -ldflags '-s -w' -o .aws-sam/image/c8auth ./cmd/c8auth-sidecar
	docker build -q -t c8auth -f docs/examples/Dockerfile .aws-sam/image

## make e2e     sam validate, sam build, and sam local with every file in events/
##              IMAGE=name: containers are made from that instead of AWS's image
##              MOTO_URL=url: once more with that moto server as the store
e2e:
	@$(NEED_SAM)
	@$(NEED_DOCKER)
	IMAGE=$(IMAGE) go test -tags e2e -count=1 -v -timeout 30m ./internal/e2e

NEED_DOCKER = command -v docker >/dev/null || { echo 'make $@: docker is missing'; exit 1; }; \
	docker version >/dev/null 2>&1 || { echo 'make $@: no Docker engine answers; start it'; exit 1; }

## make lint    formatting, vet, linters, template checks
lint:
	@files=$$(gofmt -l . .ci) && test -z "$$files" || { echo "make lint: gofmt is due for" $$files; exit 1; }
	go vet ./...
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run
	cd .ci/tools && go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run
	@$(NEED_SAM)
	sam validate --lint --template template.yaml
	sam validate --lint --template tenant.yaml

NEED_SAM = command -v sam >/dev/null || { echo 'make $@: sam, the AWS SAM CLI, is missing'; exit 1; }

## make help    this list
help:
	@sed -n 's/^## //p' Makefile

# What sam build calls, in a copy of the tree. It does not say for which processor, so
# that ARCH in the environment has to agree with the template's parameter Architecture:
# ARCH=x86_64 sam build --parameter-overrides Architecture=x86_64.
ARCH ?= arm64
build-RotateFunction: FUNCTION = rotate
build-VendFunction:   FUNCTION = vend
build-RotateFunction build-VendFunction: GOOS = linux
build-RotateFunction build-VendFunction: GOARCH = $(or $(GOARCH_$(ARCH)),$(error ARCH must be arm64 or x86_64))
GOARCH_arm64  = arm64
GOARCH_x86_64 = amd64

# Without what Lambda no longer calls, HTTP/2 that nobody here speaks, and symbols: a fifth less to load.
build-RotateFunction build-VendFunction:
	CGO_ENABLED=0 GOOS=$(GOOS) GOARCH=$(GOARCH) go build -trimpath -buildvcs=false \
		-tags lambda.norpc,nethttpomithttp2 -ldflags '-s -w' \
		-o "$(or $(ARTIFACTS_DIR),$(error ARTIFACTS_DIR is not set))/bootstrap" ./functions/$(FUNCTION)
