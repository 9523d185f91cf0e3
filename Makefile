# Everything the README promises, one target each. `make` alone prints what there is.
#
# All tools run from .venv, which the first target that needs it makes. Nothing is installed outside this folder.

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready

CHAPTERS := $(wildcard book/*.ipynb)
# conftest.py orders and groups what the processes share out.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
NBVAL  := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg
# Apple's make 3.81 cannot keep the output of parallel targets apart.
SYNC   := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Notebook kernels and the commands they start are this environment's, whatever else the machine has.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1
# As hitagu_lib sets it, for notebooks that import torch first: kernels side by side do not spin on each other's cores.
ifndef OMP_WAIT_POLICY
  export GOMP_SPINCOUNT ?= 1000
endif
unexport PYTHONPATH PYTHONHOME JUPYTER_PATH

.DEFAULT_GOAL := help
.PHONY: help install train quick test lint types pairs unit fast notebooks book pages pdf lab format sync execute figures claims ablations lock clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

install: $(READY)  ## make .venv with the locked requirements and this library (once; 6 GB)

# PYTHON=/path/to/python chooses the Python that .venv is made with; else the first 3.11 or newer found.
$(READY): requirements.txt pyproject.toml
	@python='$(PYTHON)'; \
	if [ ! -x $(BIN)/pip ]; then \
	  if [ -z "$$python" ]; then \
	    for name in python3.11 python3 python3.12 python3.13; do \
	      if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	    done; \
	  fi; \
	  if ! "$${python:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "This book needs Python 3.11 or newer; found: $$("$${python:-python3}" --version 2>&1 || true)"; \
	    echo "On Debian or Ubuntu: sudo apt-get install python3 python3-venv"; \
	    echo "Or name the one to use: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; \
	    exit 1; \
	  fi; \
	  if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "$$python cannot make virtual environments: its venv module is a package of its own."; \
	    echo "On Debian or Ubuntu: sudo apt-get install python$$version-venv"; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv $(VENV); \
	fi
	@echo "Installing requirements.txt into $(VENV): about two minutes and 6 GB on a fast line, most of it PyTorch"
	@$(BIN)/python -m pip install --disable-pip-version-check $$([ -t 2 ] || echo -q) -r requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $(READY)

define REACHED
import json
from pathlib import Path

run = Path("outputs/mini")
got = json.loads((run / "summary.json").read_text())
minutes = got["train_seconds"] / 60
print(f"""
Reached on the mini data, after {minutes:.1f} minutes of training:

  {got['val_top1']:6.1%}  validation top-1
  {got['val_top1_shuffled']:6.1%}  the same with the frames of each clip in random order
  {got['val_partner_rate_reversed']:6.1%}  of the clips, played backwards, are called the partner class
  {got['tsn_val_top1']:6.1%}  validation top-1 of TSN, which is blind to order (50 % is the most it can expect)

Where to look:

  {run}/03_train.ipynb   the executed chapter: curves, confusion matrix, what each cell printed
  {run}/logs             for TensorBoard: $(BIN)/tensorboard --logdir {run}/logs
  make lab                      opens the book in JupyterLab""")
endef
export REACHED

train: $(READY)  ## make the mini data, train HiTAGU-Net on it, say what was reached
	$(BIN)/hitagu prepare mini
	@mkdir -p outputs/mini
	$(BIN)/papermill --log-output --no-progress-bar book/03_train.ipynb outputs/mini/03_train.ipynb
	@$(BIN)/python -c "$$REACHED"

quick: $(READY)  ## lint, types, and every test that is neither slow nor a system test
	@$(MAKE) --no-print-directory -j 2 $(SYNC) lint types fast

test: $(READY)  ## lint, types, unit, notebooks and book, as CI runs it
	@$(MAKE) --no-print-directory -j 2 $(SYNC) lint types book
	$(PYTEST) $(NBVAL) book tests --ignore tests/system/test_browser.py

lint: $(READY)  ## ruff: lint and format, over the library, the tests and the notebooks' text
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy over the library
	$(BIN)/mypy

pairs: $(READY)  ## each notebook and the .py beside it say the same
	$(BIN)/pytest -q tests/test_packaging.py -k notebook

unit: $(READY)  ## pytest: all tests, the whole path on a tiny profile included
	$(PYTEST) --ignore tests/system/test_browser.py

fast: $(READY)  ## pytest: the tests that are neither slow nor system tests
	$(PYTEST) -q -m "not slow and not system"

notebooks: $(READY)  ## run the chapters; their outputs must equal the stored ones (trains the mini data if outputs/mini is absent)
	$(PYTEST) $(NBVAL) book

book: $(READY)  ## build the HTML book; any warning is an error
	$(BIN)/jupyter-book build . --all -n -W --keep-going
	@! grep -rnoE '<(script|link|img|iframe)[^>]* (src|href)="(https?:)?//[^"]*"' --include='*.html' _build/html || \
	  { echo "These pages would load from other servers."; exit 1; }
	@echo "Open $(CURDIR)/_build/html/index.html"

pages: $(READY)  ## open each page that `make book` built, and a chapter in JupyterLab, in Chromium without a network
	$(BIN)/pytest -q tests/system/test_browser.py

pdf: $(READY)  ## print the book to one PDF, _build/hitagu-net.pdf, with Chromium
	@test -n '$(CHROMIUM)' || { echo "No Chromium on PATH. On Debian: sudo apt-get install chromium"; exit 1; }
	$(BIN)/jupyter-book build . --builder singlehtml
	@# Its links start one folder higher than it lies. Solutions and quizzes are printed open.
	@sed 's/<details>/<details open>/g' _build/singlehtml/book/index.html > _build/singlehtml/print.html
	'$(CHROMIUM)' --headless --disable-gpu --no-pdf-header-footer --virtual-time-budget=300000 \
	  $(if $(filter 0,$(shell id -u)),--no-sandbox) --print-to-pdf=_build/hitagu-net.pdf "file://$(CURDIR)/_build/singlehtml/print.html"

lab: $(READY)  ## open the book in JupyterLab
	$(BIN)/jupyter lab book/00_start_here.ipynb

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sync: $(READY)  ## after editing book/*.py: bring the notebooks beside them in step, keeping their outputs
	$(BIN)/jupytext --update --to ipynb book/*.py

execute: $(READY)  ## run the chapters, store their outputs and record their minutes (CHAPTERS="book/03_train.ipynb" for some)
	$(BIN)/python -m experiments.execute $(CHAPTERS)

claims: $(READY)  ## check the book's claims that take less than five minutes together, and say which hold
	$(BIN)/python -m experiments.claims

ablations: $(READY)  ## train each file of params/ablations under five seeds, for hours; give it again to go on
	$(BIN)/python -m experiments.ablations --params params/mini.yaml --out outputs/published/ablations

figures: $(READY)  ## draw the pictures of the network, from the shapes of the code
	$(BIN)/python -m hitagu_lib.viz.network

lock: $(READY)  ## make requirements.txt anew from pyproject.toml (LOCK_FLAGS=--upgrade for newer versions)
	$(BIN)/python -m pip install --disable-pip-version-check -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras pyproject.toml -o requirements.txt \
	  --no-header --no-annotate $(LOCK_FLAGS)

clean:  ## remove what these targets made, .venv excepted: _build, caches, data and runs of the book (mini, chapters 0, 1 and 7)
	@for made in _build data/mini outputs/mini data/chapter0 data/chapter1 data/chapter7 outputs/chapter7 .pytest_cache .mypy_cache .ruff_cache *.egg-info; do \
	  if [ -e "$$made" ]; then echo "removing $$made"; rm -rf "$$made"; fi; \
	done
	@find hitagu_lib tests book experiments benchmarks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@echo "Kept: .venv, and every other folder under data/ and outputs/"
