"""The rooms of the program: imports run downward, nothing goes round in a circle, and each library has its place.

Read from the source, import statements in functions too: an import that comes late is an import all the same.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = (  # a module may import of its own room and of those below; the longest name that fits is its room
    ("eigenhouse.__main__",),
    ("eigenhouse.analyses.commands",),
    ("eigenhouse.analyses.report", "eigenhouse.analyses.notebook"),
    ("eigenhouse.analyses.charts", "eigenhouse.analyses.export"),
    ("eigenhouse.analyses.answers",),
    ("eigenhouse.analyses.routines",),
    ("eigenhouse.analyses",),
    ("eigenhouse.ingest.command", "eigenhouse.ingest.tagging", "eigenhouse.ingest.upkeep"),
    ("eigenhouse.ingest.exchange",),
    ("eigenhouse.ingest.runs",),
    ("eigenhouse.ingest.stages",),
    ("eigenhouse.ingest.proof",),
    ("eigenhouse.ingest.capture",),
    ("eigenhouse.ingest.models",),
    ("eigenhouse.ingest.warehouse",),
    ("eigenhouse.ingest.sources",),
    ("eigenhouse.ingest.console",),
    ("eigenhouse.process",),
    ("eigenhouse.variables",),
    ("eigenhouse.options",),
    ("eigenhouse.ingest.geometry",),
    ("eigenhouse.ingest",),
    ("eigenhouse.stopping", "eigenhouse.errors"),
    ("eigenhouse",),
)
LEVELS = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
READS_MODELS = {"torch", "transformers", "accelerate", "safetensors", "gguf", "huggingface_hub"}
READ_MODELS_HERE = ("sources", "models", "capture", "proof", "stages", "geometry")  # late, or for files, in the first
FILES = {"pathlib", "os", "io", "json", "tempfile", "shutil", "pyarrow", "duckdb", "sqlite3", "urllib", "subprocess"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "eigenhouse" else ("eigenhouse", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources():
    files = [path for room in ("eigenhouse", "ingest", "analyses") for path in sorted((ROOT / room).rglob("*.py"))]
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in files}


TREES = sources()


def imports(tree):
    """Every module that is imported, by its full name: of `from a import b`, a.b where that is a module."""
    found = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING":
            continue  # for the checker's eyes: nothing is imported
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a module is imported by its full name"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & TREES.keys() or {node.module}
            if whole - TREES.keys() and whole & TREES.keys():
                found.add(node.module)
    return found


GRAPH = {name: {each for each in imports(tree) if each.split(".")[0] == "eigenhouse"} for name, tree in TREES.items()}
LIBRARIES = {name: {each.split(".")[0] for each in imports(tree)} for name, tree in TREES.items()}


def room(module):
    return max((name for name in LEVELS if f"{module}.".startswith(f"{name}.")), key=len)


@pytest.mark.parametrize("rooms", ORDER, ids=lambda rooms: " ".join(name.removeprefix("eigenhouse.") for name in rooms))
def test_imports_run_downward(rooms):
    """From a room to itself and to lower ones; not even sideways, from one room of a level to the other."""
    wrong = [
        f"{module} imports {below}"
        for module in GRAPH
        for below in sorted(GRAPH[module])
        if room(module) in rooms and room(below) != room(module) and LEVELS[room(below)] <= LEVELS[room(module)]
    ]
    assert wrong == []


def test_no_modules_go_round_in_a_circle():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" ← ".join(error.args[1]))


def test_what_is_imported_is_there():
    assert {each for found in GRAPH.values() for each in found} - TREES.keys() - {"eigenhouse.sql"} == set()


def users(*libraries):
    return {name for name, found in LIBRARIES.items() if found & set(libraries)}


def within(*rooms):
    return {name for name in TREES if any(f"{name}.".startswith(f"eigenhouse.{each}.") for each in rooms)}


def test_geometry_is_functions_of_arrays():
    """No model, no database, no file: what a measurement is can be read and tested with arrays alone."""
    assert within("ingest.geometry") & users(*READS_MODELS - {"torch"}, *FILES) == set()


def test_the_database_is_touched_in_the_warehouse_and_the_analyses_only():
    assert users("duckdb") <= within("ingest.warehouse", "analyses")


def test_models_are_read_below_the_runs_only():
    """Elsewhere a library that reads models is imported in a function, for the one file that needs it."""
    loaded = {
        name
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {each.split(".")[0] for each in imports(ast.Module([node], []))} & READS_MODELS
    }
    assert loaded - {"eigenhouse.ingest.devices"} <= within(*(f"ingest.{room}" for room in READ_MODELS_HERE))


def test_the_front_door_is_of_the_standard_library():
    """make asks it before anything is installed."""
    stdlib = ("__future__", "collections", "dataclasses", "difflib", "enum", "importlib", "os", "pathlib", "signal")
    for name in ("eigenhouse", "eigenhouse.options", "eigenhouse.variables", "eigenhouse.errors"):
        assert LIBRARIES[name] <= {*stdlib, "re", "sys", "textwrap", "typing", "eigenhouse"}
    assert LIBRARIES["eigenhouse.ingest.geometry.operators"] == {"eigenhouse"}
