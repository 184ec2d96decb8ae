# Environments are rebuilt when pyproject.toml or the pins change. `make PYTHON=python3.12 test` picks another Python.

PYTHON ?= python3
BIN := .venv/bin
STUBS_BIN := .venv-stubs/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt
PYTEST_ARGS ?=
DEMO ?= demo

PACKAGES := chamnet agent/chamnet_agent host/chamnet_host
PROTO := protos/chamnet/wire
SUBSETS := onnx_subset benchmark_subset perfetto_subset
STUBS := profiling_pb2.py profiling_pb2.pyi profiling_pb2_grpc.py $(foreach subset,$(SUBSETS),$(subset)_pb2.py $(subset)_pb2.pyi)

.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:

# --- for users -------------------------------------------------------------------------------------------

.PHONY: help
help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/demo.stamp ## measure this machine and search it for a network (no torch needed)
	@mkdir -p $(DEMO)
	@$(call show,profile)
	@$(call show,verify mobilenet-v2-1.0-224)
	@$(call show,search --budget 20ms --budget like:mobilenet-v2-1.0-224 --budget 40%)
	@$(call show,verify best mobilenet-v2-1.0-224)

# $(call show,ARGUMENTS): print a command as a user would type it, then run it in a folder with a store of its own.
show = printf '\n$$ chamnet-host %s\n' '$(1)' && cd $(DEMO) && $(CURDIR)/$(BIN)/chamnet-host $(1)

# --- tests -----------------------------------------------------------------------------------------------

.PHONY: test
test: .venv/dev.stamp ## run every test that needs no device
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: .venv/dev.stamp ## run the fast tests only
	@$(BIN)/python -m pytest -m "not slow and not e2e and not arm64" $(PYTEST_ARGS)

.PHONY: test-arm64
test-arm64: .venv/dev.stamp ## by hand: run the aarch64 bundle on a device under qemu (minutes; no Arm needed)
	@$(BIN)/python -m pytest -m arm64 $(PYTEST_ARGS)

.PHONY: test-qnn
test-qnn: .venv-qnn/stamp ## by hand: run units on the Hexagon simulator (an environment of its own, 500 MB)
	@.venv-qnn/bin/python -m pytest -n 0 tests/agent/backends/test_onnxruntime_accelerators.py $(PYTEST_ARGS)

.venv-qnn/stamp: pyproject.toml constraints.txt
	@$(PYTHON) -m venv .venv-qnn
	@.venv-qnn/bin/python -m pip install --quiet --quiet --constraint constraints.txt --editable '.[onnx]' onnxruntime-qnn \
		pytest pytest-timeout pytest-xdist hypothesis
	@touch $@

# --- checks ----------------------------------------------------------------------------------------------

.PHONY: format
format: .venv/dev.stamp ## rewrite the code in the house format
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format --quiet .

.PHONY: lint
lint: check-format check-style check-types check-imports ## run every check that is not a test

.PHONY: check-format check-style check-types check-imports
check-format: .venv/dev.stamp
	@$(BIN)/ruff format --check --quiet .

check-style: .venv/dev.stamp
	@$(BIN)/ruff check --quiet .

check-types: .venv/dev.stamp
	@$(BIN)/mypy --strict $(PACKAGES)

check-imports: .venv/dev.stamp
	@$(BIN)/lint-imports --no-logo

# --- stubs -----------------------------------------------------------------------------------------------

# $(call protoc,FOLDER): write the stubs below FOLDER. Only profiling.proto defines a service.
protoc = $(STUBS_BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(1) --pyi_out=$(1) \
	--grpc_python_out=$(1) $(PROTO)/profiling.proto \
	&& $(STUBS_BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(1) --pyi_out=$(1) $(SUBSETS:%=$(PROTO)/%.proto)

.PHONY: stubs
stubs: .venv-stubs/stubs.stamp ## regenerate the gRPC and protobuf stubs
	@$(call protoc,.)

.PHONY: check-stubs
check-stubs: .venv-stubs/stubs.stamp ## say whether the committed stubs are fresh
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call protoc,"$$fresh") && \
	for stub in $(STUBS); do \
		diff -u "chamnet/wire/$$stub" "$$fresh/chamnet/wire/$$stub" || { echo "stale stubs; run: make stubs" >&2; exit 1; }; \
	done

.PHONY: wheels
wheels: .venv/dev.stamp ## pin the wheels of bundles anew, in the versions of constraints.txt
	@$(BIN)/python -m chamnet_host.bundles.renew constraints.txt

# --- environments ----------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing chamnet[host,onnx,litert] into .venv"
	@$(INSTALL) --editable '.[host,onnx,litert]'
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing chamnet[host,adb,bundle,onnx,litert,torch,train,ray,fit,tls,dev] into .venv"
	@$(INSTALL) --editable '.[host,adb,bundle,onnx,litert,torch,train,ray,fit,tls,dev]'
	@touch $@ .venv/demo.stamp

# Stubs refuse a grpcio or protobuf older than the one that made them, so the oldest supported tools make them.
# grpcio-tools 1.62 imports pkg_resources, which newer setuptools no longer has.
.venv-stubs/stubs.stamp: constraints-stubs.txt
	@echo "installing grpcio-tools into .venv-stubs"
	@$(PYTHON) -m venv --clear .venv-stubs
	@$(STUBS_BIN)/python -m pip install --quiet --quiet --constraint constraints-stubs.txt grpcio-tools setuptools
	@touch $@

.PHONY: clean
clean: ## remove the environments, the caches and build outputs
	@rm -rf .venv .venv-* dist $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
