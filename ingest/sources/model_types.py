"""Which model types transformers knows, read off its source: to import it takes seconds, and torch with it."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

LISTED_IN, LIST = Path("models/auto/auto_mappings.py"), "CONFIG_MAPPING_NAMES"


def is_known(model_type: str) -> bool:
    """Asks transformers itself where its source lists no such type: it adds a few of them as it is imported."""
    if model_type in _listed():
        return True
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


@cache
def _listed() -> set[str]:
    """The first of each literal pair in the list; none where another version keeps them elsewhere."""
    spec = find_spec("transformers")
    try:
        source = (Path(spec.origin).parent / LISTED_IN).read_bytes() if spec and spec.origin else b""
    except OSError:
        return set()
    set_here = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    lists = [node.value for node in set_here if getattr(node.targets[0], "id", "") == LIST]
    pairs = [node for each in lists for node in ast.walk(each) if isinstance(node, ast.Tuple) and len(node.elts) == 2]
    return {str(pair.elts[0].value) for pair in pairs if isinstance(pair.elts[0], ast.Constant)}
