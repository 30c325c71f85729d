"""Every named model type, built small, ingested, and each head's σ held against the dense SVD."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers

from bench import architectures
from bench.architectures import TYPES, compared, sigma_error
from bench.tiny_configs import every_type

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def answers():
    """One process that imports torch once and forks for each type; nothing of pytest is forked."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.architectures", "--json"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["type"] for answer in lines] == TYPES, done.stderr
    assert done.returncode == any(answer["verdict"] == "WRONG" for answer in lines)
    return {answer["type"]: answer for answer in lines}


@pytest.mark.parametrize("model_type", TYPES)
def test_every_head_has_the_sigma_of_the_dense_metric(answers, model_type):
    answer = answers[model_type]
    assert answer["verdict"] in ("measured", "in part"), answer["why"]
    assert answer["n_heads"] >= 6 and answer["worst"] < architectures.TOLERANCE
    assert answer["verdict"] == "measured" or all("made of" in reason for reason in answer["why"])  # hybrids


def test_the_page_is_of_the_installed_transformers_and_knows_no_wrong_head():
    """`make architectures` walks them all and writes it: too long to be done with every test run."""
    page = (ROOT / "docs" / "architectures.md").read_text()
    rows = re.findall(r"^\| (\S+) \|", page.partition("|---|")[2], re.MULTILINE)
    lists = [names for _, names in re.findall(r"^- \*\*(\d+)\*\* .*: ([^:\n]*)$", page, re.MULTILINE)]
    named = rows + ", ".join(lists).split(", ")
    assert sorted(named) == every_type()
    assert f"transformers {transformers.__version__} " in page and "· 0 WRONG**" in page
    [measured] = re.findall(r"\*\*(\d+) measured", page)
    [in_part] = re.findall(r"· (\d+) in part", page)
    version = transformers.__version__
    claim = f"{len(named)} model types of transformers {version}, [{measured} are measured and {in_part} in"
    assert claim in " ".join((ROOT / "README.md").read_text().split())


def test_the_named_types_are_there():
    assert set(TYPES) <= set(every_type()) and len(set(TYPES)) == len(TYPES)


def heads(seed=0):
    sigma = np.sort(np.random.default_rng(seed).random((2, 3, 5)))[..., ::-1] + 0.1
    return {("", "metric", layer, head): sigma[layer, head] for layer in range(2) for head in range(3)}


def test_shifted_missing_and_unchecked_heads_are_wrong():
    """Planted: each head under its neighbour's number, one head less, one more, one that can't be read."""
    dense = heads()
    assert compared(dense, dense, []) == ([], 0.0)
    shifted = {(*place, (head + 1) % 3): sigma for (*place, head), sigma in dense.items()}
    wrong, worst = compared(shifted, dense, [])
    assert wrong == ["6 heads off, first ('', 'metric', 0, 0)"] and worst > 0.01
    fewer = {head: sigma for head, sigma in dense.items() if head != ("", "metric", 1, 2)}
    assert compared(fewer, dense, [])[0] == ["1 heads missing, first ('', 'metric', 1, 2)"]
    assert compared(dense, fewer, [])[0] == ["1 heads not checked, first ('', 'metric', 1, 2)"]
    assert compared(dense, dense, ["attn can't be checked"])[0] == ["attn can't be checked"]


def test_the_error_is_relative_to_the_largest_and_counts_what_is_not_stored():
    dense = np.array([4.0, 2.0, 1.0])
    assert sigma_error(np.array([4.0, 2.0, 1.5]), dense) == 0.125
    assert sigma_error(np.array([4.0, 2.0]), dense) == 0.25
    assert sigma_error(np.zeros(2), np.zeros(3)) == 0.0
    assert sigma_error(np.array([1e-9]), np.zeros(3)) == np.inf
    assert not sigma_error(np.array([np.nan, 2.0, 1.0]), dense) <= architectures.TOLERANCE
