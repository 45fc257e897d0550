VENV ?= .venv
PYTHON ?= python3

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	$(VENV)/bin/foretune demo

test: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pytest

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[tvm,rivals,ray,tensorboard,dev]"
	touch $@

clean:
	rm -rf $(VENV) *.egg-info
