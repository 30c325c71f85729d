"""The README tells every file there is, and none that isn't."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNLISTED = {"README.md", ".gitignore", "ingest/__init__.py", "analyses/__init__.py"}


def readme():
    return (ROOT / "README.md").read_text(encoding="utf-8")


def section(title):
    return readme().split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_file_is_listed():
    listed = {line.split()[0] for line in section("Files").splitlines() if re.match(r"[\w.]\S* +\S", line)}
    folders = {name for name in listed if name.endswith("/")}
    on_disk = {
        str(path.relative_to(ROOT))
        for top in (".", ".ci", "docs", "ingest", "ingest/prompt_sets", "analyses")
        for path in (ROOT / top).glob("*")
        if path.is_file() and path.suffix not in (".duckdb", ".wal", ".pyc") and path.name != ".git"
    }
    covered = {name for name in on_disk if any(name.startswith(folder) for folder in folders)}
    assert on_disk - covered - UNLISTED == listed - folders
    sql = {f"sql/{path.name}/" for path in (ROOT / "sql").iterdir()}
    assert folders == sql | {"analyses/report_assets/", "bench/", "docs/", "tests/"}


def test_every_direct_dependency_earns_its_line():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = [re.match(r"[\w-]+", declared)[0] for group in groups for declared in group]
    told = set(
        re.findall(
            r"[\w-]+", " ".join(line.split("|")[1] for line in section("Dependencies").splitlines()[3:] if "|" in line)
        )
    )
    assert set(names) == told


def test_pictures_and_saved_queries_of_the_readme_exist():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", readme()):
        assert (ROOT / picture).stat().st_size > 1000
    saved = {path.stem for path in (ROOT / "sql/queries").glob("*.sql")}
    asked = set(re.findall(r"\bQ=(\w+)", readme()))
    assert asked and asked <= saved
    models = tomllib.loads((ROOT / "ingest/catalog.toml").read_text(encoding="utf-8"))
    assert "smollm2-135m" in str(models) and "smollm2-135m" in readme()
