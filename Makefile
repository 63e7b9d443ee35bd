# make demo: a whole search on real data.  make test: lint, types, tests.  Both work in a fresh clone, nothing installed.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
STUDY := studies/digits.yaml

.PHONY: demo test install clean

demo: $(STAMP)
	$(RUN)/autostudent check $(STUDY)
	$(RUN)/autostudent search $(STUDY)
	$(RUN)/autostudent pareto $(STUDY)
	$(RUN)/autostudent report $(STUDY)

test: $(STAMP)
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	OMP_NUM_THREADS=1 $(RUN)/pytest -m "not gpu and not alone" --numprocesses logical --maxprocesses 8 --dist loadscope
	OMP_NUM_THREADS=1 $(RUN)/pytest -m "alone and not gpu"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[cluster,dev]"
	touch $@

clean:
	rm -rf $(VENV) runs
