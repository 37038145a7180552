# `make help` lists what can be made. Programs and libraries are kept under $SYNCYTE_CACHE (default ~/.cache/syncyte).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO := . scripts/env.sh && cargo
DEMO ?=

.PHONY: help setup build demo test lint format doc clean-cache

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing to build (scripts/setup.sh --gpu adds CUDA)
	@scripts/setup.sh

build: setup ## Build the syncyte binary
	@$(CARGO) build --release -p syncyte-launcher
	@. scripts/env.sh && echo "built $$CARGO_TARGET_DIR/release/syncyte"

demo: build ## Run the whole chain on this machine; options in DEMO='--data FILE --out DIR --ranks N'
	@. scripts/env.sh && "$$CARGO_TARGET_DIR/release/syncyte" demo $(DEMO)

test: ## Run every check that a change must pass
	@scripts/setup.sh --test
	@scripts/test.sh

lint: setup ## Check format and lints only
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --release --workspace --all-targets -- -D warnings

format: ## Format the sources
	@cargo fmt --all

doc: setup ## Build the API documentation
	@$(CARGO) doc --release --workspace --no-deps

clean-cache: ## Remove everything under the cache folder (about 6 GB; the next build starts cold)
	@. scripts/env.sh && rm -rf "$$SYNCYTE_CACHE"/{torch-venv,peers-venv,annbatch-venv,nvrtc,libtorch,target,.lock} && echo "emptied $$SYNCYTE_CACHE"
