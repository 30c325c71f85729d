# Each command is a thin line over `python -m eigenhouse <verb>`, which knows its own options; `make help` lists them.
PYTHON = python3
VENV   = .venv

VERBS  = ingest models query chart charts report queries export tag tags views verify remove compact clean-cache
OTHERS = help browser bench torture architectures stored-forms dictionary test lint clean

# What is given on the command line reaches the program as typed: neither make nor the shell may read the quotes, $1
# or backticks of a query. Each value is pinned unexpanded and handed over in the environment as EIGENHOUSE_<NAME>;
# the program refuses one that it doesn't know. A MODEL or NAME that the environment happens to hold (WSL sets NAME)
# does not count; its WAREHOUSE does.
define pin
override $1 := $$(value $1)
unexport $1
endef
define hand_over
export EIGENHOUSE_$1 := $$(value $1)
endef
TYPED := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))
$(foreach v,$(TYPED),$(eval $(call pin,$v)))
$(foreach v,$(filter-out PYTHON VENV,$(TYPED)),$(eval $(call hand_over,$v)))
ifneq (,$(filter environment,$(firstword $(origin WAREHOUSE))))
$(eval $(call hand_over,WAREHOUSE))
endif
export EIGENHOUSE_GOALS := $(MAKECMDGOALS)

UNTAKEN := $(firstword $(filter-out PYTHON VENV WAREHOUSE,$(TYPED)))
ifeq (,$(filter-out $(filter-out bench,$(OTHERS)),$(MAKECMDGOALS))) # bench refuses for itself, as a verb does
$(if $(UNTAKEN),$(error make $(or $(MAKECMDGOALS),help) takes no $(UNTAKEN), which would do nothing))
endif

# The environment is made once for each requirements.lock. One that VENV names is the user's own: used as it is.
RUN   := $(VENV)/bin/python
READY := $(if $(filter VENV,$(TYPED)),,.venv/.installed)

.PHONY: $(VERBS) $(OTHERS)

help:   ## this list
	@$(PYTHON) -m eigenhouse.variables verbs 2>/dev/null || [ $$? = 141 ] || printf 'make %s\n' $(VERBS)
	@awk '/^[a-z-]+:.*## / { name = $$0; sub(/:.*/, "", name); sub(/.*## /, ""); printf "make %-15s %s\n", name, $$0 } \
	/^##/ { sub(/^## ?/, ""); print }' $(firstword $(MAKEFILE_LIST)) || [ $$? = 141 ] # a reader has enough
	@$(PYTHON) -m eigenhouse.variables variables 2>/dev/null || [ $$? = 141 ] || \
	echo "The variables are listed by Python 3.11 or later: make help PYTHON=python3.12"

$(VERBS): $(READY)
	@$(RUN) -m eigenhouse $@

browser:   ## install Chromium, by apt-get as root, for the tests of the report; they are skipped without it
	command -v chromium && command -v chromedriver || { apt-get update -q && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium chromium-driver; }

bench: $(READY)   ## ratios beside a revision, peers and the floor: bench/results.json and docs/performance.md
	@$(RUN) -m eigenhouse.variables $@ && $(RUN) -m bench.performance

torture: $(READY)   ## kills, full disks, crowds, signals, bad files, fuzzing: bench/torture.json, docs/reliability.md
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(RUN) -m bench.torture

architectures: $(READY)   ## a tiny model of every type that transformers has, each head checked: docs/architectures.md
	@OMP_NUM_THREADS=1 $(RUN) -m bench.architectures --all --jobs 2 --page docs/architectures.md

stored-forms: $(READY)   ## a tiny model in every form that weights are stored in, each read: docs/stored_forms.md
	@OMP_NUM_THREADS=1 $(RUN) -m bench.stored_forms --jobs 2 --page docs/stored_forms.md

dictionary: $(READY)   ## docs/dictionary.md, from the headers of tables, views and macros
	@$(RUN) -m bench.dictionary

test: $(READY)   ## what CI runs: lint beside every test
	@($(LINT)) & linting=$$!; \
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder; \
	tested=$$?; wait $$linting && exit $$tested

lint: $(READY)   ## ruff and mypy
	@$(LINT)

# mypy sees the rooms as they are installed, since it can't follow what eigenhouse/__init__.py does in a checkout
SEEN = .mypy_cache/installed
LINT = $(RUN) -m ruff check && $(RUN) -m ruff format --check && rm -rf $(SEEN) && mkdir -p $(SEEN)/eigenhouse && \
	ln -s $(CURDIR)/eigenhouse/*.py $(CURDIR)/ingest $(CURDIR)/analyses $(SEEN)/eigenhouse && \
	ln -s $(CURDIR)/bench $(SEEN) && cd $(SEEN) && \
	$(abspath $(RUN)) -m mypy --config-file $(CURDIR)/pyproject.toml --cache-dir ..

clean:   ## remove .venv and caches; the warehouse and downloaded models stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##
## WAREHOUSE=<file> works everywhere, VENV=<an environment of your own> too. The first run makes .venv by PYTHON (3.11
## or later) from requirements.lock, and again only when that changes; without a GPU,
## PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make … spares the CUDA libraries.
##

.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "error: Python 3.11 or later is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.12" >&2; \
	exit 1; }
	@$(PYTHON) -m eigenhouse.variables $(MAKECMDGOALS) # refuse what is misspelt before minutes are spent
	@echo "Making .venv from requirements.lock: once, and some minutes for torch" >&2
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@touch $@
