# make demo: the main job on generated patients (CPU).
# make fast: lint, types, the fast tests.  make test: the chain, a kill of each command and the real case as well.
# make test-long: forty kills, the studies, Snakemake, SLURM, long fuzzing: before a release.
# make evidence: after it, the baseline, the paper's table, fitted post-processing, scores and the HTML report.
# make refinement-study: does the refiner help? About an hour on two cores; goes on where it stopped.
# make missing-modality: Dice of patients who lack images, with modality dropout in training and without.
# make bench: every table of docs/evidence/benchmarks, on this machine; MEDNEXT_SOURCE=DIR names the official MedNeXt's checkout.
# make docs: the documentation site, in build/site; a broken link fails.
# All set up .venv first.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
READY = $(VENV)/.ready
BENCH ?= $(filter-out harness,$(basename $(notdir $(wildcard benchmarks/*.py))))

# Threads that wait do not spin: a job beside this one then costs its share of time, not ten times that.
export OMP_WAIT_POLICY = PASSIVE

# Tests of one file stay in one process: they share its models, its ports and its browser.
PYTEST = $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --durations=25

.PHONY: demo evidence refinement-study missing-modality bench fast test test-long lint types docs clean

$(READY): pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(READY)
	rm -rf demo_output
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo/run.sh demo_output

evidence: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash demo/evidence.sh demo_output

refinement-study: $(READY)
	$(BIN)/python -m study.run study_output --docs

missing-modality: $(READY)
	$(BIN)/python -m study.missing_modality missing_modality_output --docs

# Each as a user runs it, so without the setting above; one that fails does not keep the others from being made.
bench: $(READY)
	failed=0; for name in $(BENCH); do \
	  env -u OMP_WAIT_POLICY $(BIN)/python benchmarks/$$name.py --save \
	    $(if $(MEDNEXT_SOURCE),--mednext-source "$(MEDNEXT_SOURCE)") || failed=1; \
	done; exit $$failed

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

fast: lint types
	$(PYTEST) -m 'not chain and not long'

test: lint types
	$(PYTEST) -m 'not long'

test-long: $(READY)
	$(PYTEST) -m long

docs: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build *.egg-info demo_output study_output missing_modality_output
