# `make` alone explains the targets. PYTHON picks the interpreter, VENV the environment's place,
# TIER the size of `make book` (smoke, laptop or paper), JOBS how many things run at once, CHAPTERS
# which of them `make sync` and `make handouts` take (such as 07-training; all where left out).
PYTHON ?= python3
VENV   ?= .venv
TIER   ?= smoke
JOBS   ?= 2

BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
HTML  := _build/html/index.html

# How notebooks and tests run. One thread a process keeps sums in the same order on every machine,
# so that stored outputs compare, and JOBS processes use the cores instead; progress bars would be
# stored as outputs; a kernel of the reader's own must not take the environment's place.
RUN := OMP_NUM_THREADS=1 TQDM_DISABLE=1 JUPYTER_PREFER_ENV_PATH=1

.DEFAULT_GOAL := help
.PHONY: help book test site lab bench sync handouts clean

help:  ## print this
	@echo "make TARGET    (the first one to need it creates $(VENV) and installs everything there)"
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | awk -F '|' '{ printf "  %-8s %s\n", $$1, $$2 }'
	@echo
	@echo "Settings: PYTHON=$(PYTHON) VENV=$(VENV) TIER=$(TIER) JOBS=$(JOBS)"

$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "occfer needs Python 3.11 or later, but there is no '$(PYTHON)': install one, or say make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "occfer needs Python 3.11 or later, but '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1): say make PYTHON=/path/to/python3.11." >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)" || { \
	  echo "'$(PYTHON)' could not create an environment in '$(VENV)': install Python's venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "Installing into $(VENV): this takes some minutes, once."
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	@touch "$@"

book: $(STAMP)  ## run every notebook on the embedded faces and build the book as HTML
	$(RUN) OCCFER_TIER=$(TIER) "$(BIN)/python" -m tools.book build --jobs $(JOBS)

test: $(STAMP)  ## check style, floors, dependencies and notebook pairs, then run all tests and notebooks
	"$(BIN)/ruff" check .
	"$(BIN)/lint-imports" --no-logo
	"$(BIN)/deptry" occfer
	"$(BIN)/deptry" $(wildcard benchmarks book tests tools) --ignore DEP002,DEP004
	"$(BIN)/python" -m tools.book check
	$(RUN) OCCFER_TIER=smoke "$(BIN)/python" -m pytest -n $(JOBS) --dist loadfile \
	  --nbval --nbval-sanitize-with tests/book/sanitize.cfg --nbval-cell-timeout 300 tests book

site: $(STAMP)  ## build the HTML from the outputs stored in the notebooks, running none
	"$(BIN)/python" -m tools.book build --stored

lab: $(STAMP)  ## open the notebooks in JupyterLab
	"$(BIN)/jupyter-lab" book

bench: $(STAMP)  ## compare speed with other libraries, side by side
	@set -e; for file in benchmarks/[!_]*.py; do echo "$$file"; "$(BIN)/python" "$$file"; done

sync: $(STAMP)  ## for maintainers: rebuild each .ipynb from its .py, run it, store its outputs
	$(RUN) OCCFER_TIER=smoke "$(BIN)/python" -m tools.book sync --jobs $(JOBS) $(CHAPTERS)

handouts: $(STAMP)  ## for teachers: write exercises with room to answer, and their solutions apart
	"$(BIN)/python" -m tools.book handout $(CHAPTERS)

clean:  ## delete what building and testing made (the environment stays)
	rm -rf _build build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
