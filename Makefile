# Each command is a thin line over `python -m eigenhouse ingest …` or `python -m eigenhouse …`; `make help` lists them.
PYTHON = python3
VENV   = .venv

PASSED = MODEL REVISION REVISIONS NAME DEVICE PROMPTS STATIC_ONLY DYNAMIC_ONLY NO_WEIGHTS SUBSPACE_SIZE \
         PRINCIPAL_SIDES EXPERTS VARIANTS EIGENVECTORS TRUST_REMOTE_CODE OPERATOR FORCE WAIT SQL Q FORMAT OUT \
         ANCHOR HEAD K PROMPT_SET WAREHOUSE
KNOWN  = $(PASSED) PYTHON VENV

# What is given on the command line reaches the program as typed: neither make nor the shell may read the quotes, $1
# or backticks of a query. Each value is pinned unexpanded and handed over in the environment as EIGENHOUSE_<NAME>.
# A MODEL or NAME that the environment happens to hold (WSL sets NAME) does not count; its WAREHOUSE does.
define pin
override $1 := $$(value $1)
unexport $1
endef
define hand_over
export EIGENHOUSE_$1 := $$(value $1)
endef
TYPED := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))
$(foreach v,$(TYPED),$(eval $(call pin,$v)))
$(foreach v,$(filter $(PASSED),$(TYPED)),$(eval $(call hand_over,$v)))
ifneq (,$(filter environment,$(firstword $(origin WAREHOUSE))))
$(eval $(call hand_over,WAREHOUSE))
endif

# a variable that one of several targets takes is no mistake of the others
ifneq (,$(word 2,$(MAKECMDGOALS)))
export EIGENHOUSE_SEVERAL_GOALS := 1
endif

UNKNOWN := $(firstword $(filter-out $(KNOWN),$(TYPED)))
ifneq (,$(UNKNOWN))
CLOSEST := import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))
NEAR := $(shell $(PYTHON) -c '$(CLOSEST)' '$(UNKNOWN)' $(KNOWN))
$(error no variable $(UNKNOWN)$(if $(NEAR), (did you mean $(NEAR)?)); there are $(KNOWN))
endif

# the program itself refuses what its command doesn't take; these aren't its commands
OTHERS   = help browser bench architectures stored-forms test lint clean
UNTAKEN := $(firstword $(filter-out WAREHOUSE,$(filter $(PASSED),$(TYPED))))
ifeq (,$(filter-out $(OTHERS),$(MAKECMDGOALS)))
$(if $(UNTAKEN),$(error make $(or $(MAKECMDGOALS),help) takes no $(UNTAKEN), which would do nothing))
endif

# The environment is made once for each requirements.lock. One that VENV names is the user's own: used as it is.
RUN   := $(VENV)/bin/python
READY := $(if $(filter VENV,$(TYPED)),,.venv/.installed)

.PHONY: help ingest models query chart charts report queries export views browser bench architectures stored-forms test lint clean

help:   ## this list
	@awk '/^[a-z-]+:.*## / { name = $$0; sub(/:.*/, "", name); sub(/.*## /, ""); printf "make %-13s %s\n", name, $$0 } \
	/^##/ { sub(/^## ?/, ""); print }' $(firstword $(MAKEFILE_LIST)) || [ $$? = 141 ] # a reader has enough

ingest: $(READY)   ## measure a model, prove the reading against the model itself, write it to the warehouse
	@$(RUN) -m eigenhouse ingest

models: $(READY)   ## the models in the warehouse, their worst conformance error, what is doubted
	@$(RUN) -m eigenhouse models

query: $(READY)   ## SQL="…" or Q=<saved query>, FORMAT=table|csv|json|parquet|npy, OUT=<file>
	@$(RUN) -m eigenhouse query

chart: $(READY)   ## Q=<saved query> as charts/<query>.html, .png and .svg; OUT=<file> gives one of them
	@$(RUN) -m eigenhouse chart

charts: $(READY)   ## every saved chart of all models (or MODEL=<model_id>) into charts/ or OUT=<folder>
	@$(RUN) -m eigenhouse charts

report: $(READY)   ## pages, Markdown and data of all models (or MODEL=<model_id>) into report/ or OUT=<folder>
	@$(RUN) -m eigenhouse report

queries: $(READY)   ## the saved queries and their parameters
	@$(RUN) -m eigenhouse queries

export: $(READY)   ## MODEL=… OUT=<folder>: spectra and grams as JSON, effective ranks as CSV, for other tools
	@$(RUN) -m eigenhouse export

views: $(READY)   ## bring an existing warehouse up to date, its tables too; a copy is kept where those change
	@$(RUN) -m eigenhouse views

browser:   ## install Chromium, by apt-get as root, for the tests of the report; they are skipped without it
	command -v chromium && command -v chromedriver || { apt-get update -q && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium chromium-driver; }

bench: $(READY)   ## what the static geometry costs beside dense SVDs, its memory by layers and of FP8, what each view takes
	@$(RUN) -m bench.static_cost
	@$(RUN) -m bench.static_memory
	@$(RUN) -m bench.quantized_memory
	@$(RUN) -m bench.view_cost

architectures: $(READY)   ## a tiny model of every type that transformers has, each head checked: docs/architectures.md
	@OMP_NUM_THREADS=1 $(RUN) -m bench.architectures --all --jobs 2 --page docs/architectures.md

stored-forms: $(READY)   ## a tiny model in every form that weights are stored in, each read: docs/stored_forms.md
	@OMP_NUM_THREADS=1 $(RUN) -m bench.stored_forms --jobs 2 --page docs/stored_forms.md

test: lint   ## what CI runs: lint, then every test
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(READY)   ## ruff and mypy
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy

clean:   ## remove .venv and caches; the warehouse and downloaded models stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##
## What to ingest       MODEL=<hub id | folder | .safetensors | .gguf | measurement .json | catalog name>,
##                      REVISION or REVISIONS=<several>, NAME
##                      (without MODEL the packaged default model; FORCE=1 replaces what is there)
## What to measure      STATIC_ONLY=1, DYNAMIC_ONLY=1, NO_WEIGHTS=1, SUBSPACE_SIZE=20, PRINCIPAL_SIDES=1, EXPERTS=8|all,
##                      EIGENVECTORS=auto|all|none, VARIANTS=all|none|<list> of folded, biased, qk_normed, position, rope_1
## How                  DEVICE=cpu|cuda|mps, PROMPTS=<file>, TRUST_REMOTE_CODE=1, WAIT=<seconds for a busy warehouse>
## Measurement files    OPERATOR=head_product|metric: what the singular values are of; PROMPT_SET=<whose attention to export>
## Query parameters     MODEL, ANCHOR, OPERATOR, HEAD, K
## Everywhere           WAREHOUSE=<file> (default warehouse.duckdb), VENV=<an environment of your own>
## First run            .venv is made by PYTHON (3.11 or later) from requirements.lock, and only when that changes;
##                      PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make … spares a machine without
##                      a GPU the CUDA libraries

.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "error: Python 3.11 or later is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; \
	exit 1; }
	@echo "Making .venv from requirements.lock: once, and some minutes for torch" >&2
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@
