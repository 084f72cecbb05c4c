# `make` lists the targets. Everything runs in .venv, which is made on first use.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

EXPERIMENT ?= digits
CORES ?= all
VENV ?= .venv
# The first of these that is Python 3.11 or newer makes the environment.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Tests run side by side: one worker a core, unless WORKERS is a number (0: no workers).
WORKERS ?= logical
# Of the campaign of faults: large or small, and what all of it is drawn from.
SIZE ?= large
SEED ?= 13
# GPUs to use; counted when a target needs the number. CUDA_VISIBLE_DEVICES limits them.
GPUS ?= $(shell $(BIN)/python -m wiseft.models.gpus 2>/dev/null)

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS := $(VENV)-docs
# The clone that VENV belongs to, if it is another one: nothing is installed there then, and this clone's code is run.
OWNER := $(shell test ! -x $(BIN)/python || $(BIN)/python -I tools/owner_of_environment.py)
RESULTS := results/$(EXPERIMENT)
TABLES := data/tables/$(EXPERIMENT)
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES) --resources gpu=$(if $(filter-out 0,$(GPUS)),$(GPUS),1) \
	--config experiment=$(EXPERIMENT)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8
CONDENSED := 2>&1 | $(BIN)/python -u tools/progress.py
export DVC_NO_ANALYTICS := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo
	@echo "Variables: EXPERIMENT=$(EXPERIMENT) CORES=$(CORES) WORKERS=$(WORKERS) VENV=$(VENV) PYTHON=$(PYTHON)"

.PHONY: venv
venv: $(STAMP) ## make the virtual environment and install the locked versions

ifneq ($(OWNER),)
export PYTHONPATH := $(CURDIR)/src$(if $(PYTHONPATH),:$(PYTHONPATH))
$(warning $(VENV) is the environment of $(OWNER): it is used as it is, with the code of $(CURDIR))
$(STAMP): ;
else
# The lock is whole and has hashes. torch comes second: what it needs is there by then, save what its CUDA build brings.
$(STAMP): requirements.lock requirements-torch.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Installing the locked versions into $(VENV) (about 2 GB, a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
endif

.PHONY: run
run: $(STAMP) ## run an experiment, from the data to the figures and the report
	@echo "Experiment $(EXPERIMENT): data -> models -> runs -> tables -> figures (cores: $(CORES))."
	@set -o pipefail; $(SNAKEMAKE) $(CONDENSED) $(EXPERIMENT)
	@$(MAKE) --no-print-directory report
	@echo
	@$(BIN)/wiseft headline --experiment $(EXPERIMENT)
	@$(BIN)/wiseft compare $(EXPERIMENT) --verdict || true
	@echo "Figures: $(RESULTS)/figures    Summary: $(RESULTS)/summary.md    Report: $(RESULTS)/report.html"
	@test ! -f $(RESULTS)/index.html || echo "The page, to begin with: $(RESULTS)/index.html"

.PHONY: example-sentiment
example-sentiment: $(STAMP) ## sweep a sentence encoder with an evaluation of its own (examples/sentiment; 0.5 GB)
	@$(BIN)/python examples/sentiment/run.py

.PHONY: report
report: $(STAMP) ## write the HTML report of a finished experiment, if its results changed
	@$(BIN)/python -m tools.report $(RESULTS) $(TABLES).csv -- $(SNAKEMAKE)

.PHONY: figures
figures: $(STAMP) ## draw the figures again, from tables alone: those in data/tables, or else in published/tables
	@set -o pipefail; $(BIN)/snakemake -s workflow/figures.smk --cores $(CORES) --config experiment=$(EXPERIMENT) $(CONDENSED)
	@echo "Figures: $(RESULTS)/figures"

.PHONY: paper-figures
paper-figures: $(STAMP) ## draw the figures of the paper from published numbers, and from measured ones that are here
	@$(BIN)/wiseft paper-figures --output-dir results/paper/figures
	@echo "Figures: results/paper/figures    The page with the slider, the tables and these: make figures EXPERIMENT=paper"

.PHONY: rehearse
rehearse: $(STAMP) ## run EXPERIMENT (or all, few) on made-up data, in minutes; REAL=1: measure speed with your own data
	@$(BIN)/python -m tools.rehearsal $(EXPERIMENT) $(if $(filter-out all,$(CORES)),--cores $(CORES)) $(if $(REAL),--real)

.PHONY: test
test: $(STAMP) ## run all tests, the small experiment end to end included
	@$(PYTEST)

.PHONY: test-fast
test-fast: $(STAMP) ## run the tests that do not run the workflow
	@$(PYTEST) -m "not slow"

.PHONY: test-slow
test-slow: $(STAMP) ## run the tests that run the workflow, and no other
	@$(PYTEST) -m slow

# Other CPUs, as far as this one can pass for them: without a vector extension of torch, with AVX2.
AVX2 := ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2
.PHONY: test-other-cpus
test-other-cpus: $(STAMP) ## run all tests as on older CPUs: without a vector extension, with AVX2 (TESTS="..." for some)
	@ATEN_CPU_CAPABILITY=default $(PYTEST) $(TESTS)
	@$(AVX2) $(PYTEST) $(TESTS)

.PHONY: test-cpus
test-cpus: test-other-cpus ## run all tests three times: as test-other-cpus does, and as here (TESTS="..." for some)
	@$(PYTEST) $(TESTS)

.PHONY: test-remotes
test-remotes: $(STAMP) ## test DVC remotes of S3 and SSH against servers on this machine
	@tools/on_top.sh $(VENV) remotes 'dvc-s3>=3' 'dvc-ssh>=4' 'moto[server]>=5'
	@$(BIN)/python -m pytest tests/sharing/test_remotes.py

.PHONY: test-peers
test-peers: $(STAMP) ## compare with other programs (PEFT, mergekit, Lightning, datasets, webdataset, lm-eval, CLIP_benchmark, mlcroissant), in an environment of their own
	@tools/on_top.sh $(VENV) peers 'peft>=0.17' 'mergekit>=0.1.5' 'lightning>=2.5' 'datasets>=4' 'webdataset>=1' 'lm-eval>=0.4.13' 'clip_benchmark>=1.6' 'mlcroissant>=1.1'
	@PYTHONPATH=$(CURDIR)/src build/peers/bin/python -m pytest tests/peers

# A version (open_clip_torch==4.0.0) or a folder with its source; by default the newest of the registry, drafts included.
OPEN_CLIP ?= open_clip_torch
.PHONY: test-open-clip-next
test-open-clip-next: $(STAMP) ## run the tests that call open_clip with another version of it (OPEN_CLIP=..., TESTS="..." for some)
	@rm -f build/open-clip-next/.installed
	@tools/on_top.sh $(VENV) open-clip-next --upgrade --pre $(OPEN_CLIP)
	@build/open-clip-next/bin/python -c 'import open_clip; print("open_clip", open_clip.__version__)'
	@PYTHONPATH=$(CURDIR)/src build/open-clip-next/bin/python -m pytest \
		$(or $(TESTS),$$(grep -rlE '^ *(import|from) open_clip' tests --include='test_*.py'))

.PHONY: test-storage
test-storage: $(STAMP) ## test runs elsewhere: jobs that share no disk (needs rsync), a cluster that is not Slurm's, and what snakedeploy makes
	@tools/on_top.sh $(VENV) storage 'snakemake-storage-plugin-fs>=1.1' 'snakedeploy>=0.17' 'snakemake-executor-plugin-cluster-generic>=1.0.9'
	@PATH="$(CURDIR)/$(BIN):$$PATH" build/storage/bin/python -m pytest tests/workflow/test_storage.py tests/workflow/test_module.py \
		tests/cluster/test_cluster_generic.py

.PHONY: test-cluster
test-cluster: $(STAMP) ## test the Slurm profile on a Slurm that is installed and started here (root, Debian)
	@WISEFT_TEST_CLUSTER=1 $(BIN)/python -m pytest tests/cluster

.PHONY: test-page
test-page: $(STAMP) ## test the interactive page in Chromium, which is installed if it is missing (root, Debian)
	@tools/browser.sh
	@$(BIN)/python -m pytest tests/figures/test_page_browser.py tests/sweep/test_pages_in_browser.py

.PHONY: test-faults
test-faults: $(STAMP) ## attack it: kills, damage, hostile files, full disks, mirrors (SIZE=small: 3 minutes; SEED=n)
	@$(BIN)/python -m tests.faults --size $(SIZE) --seed $(SEED)

.PHONY: nightly
nightly: export WISEFT_TEST_PARTS := all
nightly: test-cpus test-storage ## check what .ci/run leaves out: other CPUs, storage, all subsets, every family rehearsed, all attacks
	@$(BIN)/python -m tools.rehearsal few
	@$(BIN)/python -m tests.faults --seed $(SEED)

.PHONY: lint
lint: $(STAMP) ## check style, types, rules, words and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/snakemake -s workflow/figures.smk --lint
	$(BIN)/snakemake -s workflow/sweep.smk --configfile workflow/sweep.yaml --lint
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/mypy
	$(BIN)/python -m tools.words

.PHONY: format
format: $(STAMP) ## format Python and rules in place
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/snakefmt Snakefile workflow

# In environments of their own, which have nothing of the workflow's: 170 MB, a few seconds.
$(DOCS)/.installed $(DOCS)-next/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs$(if $(filter %-next/.installed,$@),-next)"], sep="\n")' > $(@D)/requirements.txt
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $(@D)/requirements.txt
	@touch $@

.PHONY: docs
docs: $(DOCS)/.installed ## build the documentation site; a link that leads nowhere fails it
	@PYTHONPATH=src $(DOCS)/bin/python -m tools.site
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict
	@$(DOCS)/bin/python -m tools.site.search
	@echo "Site: build/site/index.html"

.PHONY: docs-next
docs-next: $(DOCS)-next/.installed ## build the same pages with Zensical, the successor of mkdocs, into build/site-next
	@PYTHONPATH=src $(DOCS)-next/bin/python -m tools.site
	@SITE=build/site-next $(DOCS)-next/bin/zensical build --clean --strict
	@cd build/site-next && find ../site-pages -name '*.md' -printf '%P\n' | sed 's/md$$/html/' | xargs ls > /dev/null

.PHONY: bench
bench: $(STAMP) ## measure, and write benchmarks/results/*.json
	@$(BIN)/python -m benchmarks

.PHONY: lock
lock: $(STAMP) ## write requirements.lock, with hashes, and requirements-torch.txt from the environment as it is
	@tools/lock.sh $(VENV)
	@$(if $(OWNER),,touch $(STAMP))

.PHONY: publish
publish: $(STAMP) ## check the results, put data/ under DVC and push it (REPLACE=1: in place of what is missing here)
	@$(BIN)/python -m tools.sharing publish --experiment $(EXPERIMENT) $(if $(REPLACE),--replace)

.PHONY: pull
pull: $(STAMP) ## get published data/ to continue from: verify it, mark it as up to date
	@$(BIN)/python -m tools.sharing pull --experiment $(EXPERIMENT) --cores $(CORES)

.PHONY: clean-venv
clean-venv: ## remove the virtual environments
	@test -z "$(OWNER)" || { echo "error: $(VENV) is the environment of $(OWNER); remove it there" >&2; exit 1; }
	@rm -rf $(VENV) $(DOCS) $(DOCS)-next
