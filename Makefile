# `make demo` and `make test` are all a newcomer needs; both install into .venv first.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2

.PHONY: demo test test-all test-accelerators coverage lint format docs package release clean

demo: .venv/installed
	$(BIN)/python -m darkrank_jax.main --config configs/demo.py

test: .venv/installed-dev
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not slow"

test-all: .venv/installed-dev
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

# Compiles for accelerators that are not there, with JAX's packages for them (5 GB).
test-accelerators: build/accelerators/installed
	build/accelerators/bin/pytest -n $(WORKERS) tests/test_absent_accelerators.py

coverage: .venv/installed-dev
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not slow" --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m docs.style

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-docs
	$(BIN)/mkdocs build --strict

# sdist and wheel, and what the wheel does in an environment that has nothing else.
package: .venv/installed-dev
	rm -rf dist build/package
	$(BIN)/python -m build
	$(PYTHON) -m venv build/package
	build/package/bin/pip install --quiet "$$(ls dist/*.whl)[train]"
	cd build/package && bin/darkrank --config ../../tests/tiny_config.py --workdir run

# Everything up to the upload: CONTRIBUTING.md has the steps around it.
release: lint test-all package
	$(BIN)/twine check dist/*
	@echo "Tag the commit v$$($(BIN)/python -c 'import darkrank_jax; print(darkrank_jax.__version__)') and upload dist/"

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; give another: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv

# With the command `darkrank`, which goes by this checkout.
.venv/installed: .venv/bin/python requirements.txt pyproject.toml setup.py
	$(BIN)/pip install --quiet -e '.[train]'
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-export.txt
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

build/accelerators/installed: requirements.txt requirements-dev.txt requirements-export.txt
	$(PYTHON) -m venv build/accelerators
	build/accelerators/bin/pip install --quiet -r requirements-dev.txt "jax[cuda13,tpu]"
	touch $@

.venv/installed-docs: .venv/installed requirements-docs.txt
	$(BIN)/pip install --quiet -r requirements-docs.txt
	touch $@
