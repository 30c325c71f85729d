"""The program as an installer leaves it: the wheel alone, outside the checkout, with what it declares and no more."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import tiny_models
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
SEEN = """
import atexit, os, sys
def tell():
    files = [m.__file__ for name, m in list(sys.modules.items()) if name.split(".")[0] == "eigenhouse" and m.__file__]
    with open(os.environ["SEEN"], "w") as file:
        print(*files, sep="\\n", file=file)
atexit.register(tell)
"""


def build(builder, project, into):
    [artifact] = builder(str(project)).build(directory=str(into), versions=["standard"])
    return Path(artifact)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(WheelBuilder, ROOT, tmp_path_factory.mktemp("wheel"))


def closure(requirements):
    """Every distribution that these bring, as they declare it themselves; those that a marker leaves out aside."""
    found, waiting = {}, list(requirements)
    while waiting:
        wanted = waiting.pop()
        extras = found.setdefault(wanted.name.lower().replace("_", "-"), set())
        new = [extra for extra in ("", *wanted.extras) if extra not in extras]
        extras.update(new)
        for text in metadata.requires(wanted.name) or () if new else ():
            further = Requirement(text)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in new):
                waiting.append(further)
    return found.keys()


class Installed:
    """A virtual environment that holds the wheel, and links to what the wheel declares for these extras."""

    def __init__(self, folder, wheel, *extras):
        venv.create(folder, symlinks=True)
        self.folder = folder
        [self.packages] = folder.glob("lib/python*/site-packages")
        into = ["--python", str(folder / "bin" / "python"), "--no-deps", "--no-index", "--no-compile", "--quiet"]
        subprocess.run([sys.executable, "-m", "pip", into[0], into[1], "install", *into[2:], str(wheel)], check=True)
        [dist] = metadata.distributions(name="eigenhouse", path=[str(self.packages)])
        told = [Requirement(text) for text in dist.requires]
        wanted = [each for each in told if not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)]
        for name in closure(wanted):
            lent = metadata.distribution(name)
            for top in {file.parts[0] for file in lent.files if file.parts[0] != ".."}:
                if not (self.packages / top).exists() and top != "__pycache__":
                    (self.packages / top).symlink_to(lent.locate_file(top))
        (self.packages / "sitecustomize.py").write_text(SEEN)

    def __call__(self, *arguments, cwd):
        """The console script as from a plain shell; every module of ours must be the installed one."""
        ours = ("EIGENHOUSE_", "PYTHON", "VIRTUAL_ENV")
        outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        outside |= {"EIGENHOUSE_CACHE": str(cwd / "cache"), "SEEN": str(cwd / "seen"), "OMP_NUM_THREADS": "1"}
        command = [str(self.folder / "bin" / "eigenhouse"), *arguments]
        done = subprocess.run(command, cwd=cwd, env=outside, capture_output=True, text=True, timeout=120)
        files = (cwd / "seen").read_text().split("\n")[:-1]
        assert files and [file for file in files if not file.startswith(f"{self.packages}/eigenhouse/")] == []
        return done

    def lacks(self, module):
        code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is not None)"
        told = {"SEEN": os.devnull}
        return subprocess.run([self.folder / "bin" / "python", "-c", code], env=told).returncode == 0


@pytest.fixture(scope="module")
def whole(wheel, tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("whole"), wheel, "ingest")


@pytest.fixture(scope="module")
def reader(wheel, tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("reader"), wheel)


@pytest.fixture(scope="module")
def house(whole, tmp_path_factory):
    """A folder with the warehouse of a tiny model, ingested by the installed program."""
    folder = tmp_path_factory.mktemp("house")
    tiny_models.save("grouped heads", folder / "tiny")
    done = whole("ingest", "--model", "tiny", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_beside_them(wheel):
    rooms = {"eigenhouse": "", "ingest": "eigenhouse/", "analyses": "eigenhouse/", "sql": "eigenhouse/"}
    files = [path.relative_to(ROOT) for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]
    want = {f"{rooms[path.parts[0]]}{path}" for path in files if "__pycache__" not in path.parts}
    assert {name for name in names(wheel) if ".dist-info/" not in name} == want
    endings = {Path(name).suffix for name in want}
    assert {".py", ".sql", ".toml", ".jsonl", ".html", ".md", ".js", ".css"} <= endings
    assert {name.split("/")[0].split("-")[0] for name in names(wheel)} == {"eigenhouse"}


def test_the_source_distribution_makes_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build(SdistBuilder, ROOT, tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [project] = (tmp_path / "source").iterdir()
    assert {path.name for path in project.iterdir()} >= {"Makefile", "LICENSE", "tests", "requirements.lock"}
    again = build(WheelBuilder, project, tmp_path / "again")
    assert names(again) == names(wheel)
    assert again.read_bytes() == wheel.read_bytes()


def test_a_model_is_ingested_and_drawn_by_the_installed_program(whole, house):
    done = whole("chart", "--q", "effective_rank_by_layer", "--out", "drawn.svg", cwd=house)
    assert (done.returncode, done.stderr) == (0, "")
    assert "<svg" in (house / "drawn.svg").read_text()


def test_the_read_side_needs_nothing_of_what_reads_models(reader, house):
    assert all(reader.lacks(name) for name in ("torch", "transformers", "huggingface_hub", "gguf", "safetensors"))
    done = reader("query", "--sql", "select model_id, n_layers from models", "--format", "csv", cwd=house)
    assert (done.stdout, done.stderr) == ("model_id,n_layers\ntiny,2\n", "")
    assert reader("query", "--q", "models", "--format", "parquet", "--out", "m.parquet", cwd=house).returncode == 0
    assert "tiny" in reader("models", cwd=house).stdout
    assert "Q=effective_rank_by_layer" in reader("queries", cwd=house).stdout
    done = reader("chart", "--q", "entropy_regression", cwd=house)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.suffix for path in (house / "charts").iterdir()} == {".html", ".png", ".svg"}


def test_a_report_is_written_by_the_read_side(reader, spectra, tmp_path):
    shutil.copy(spectra, tmp_path / "warehouse.duckdb")
    done = reader("report", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "org/spectra" in (tmp_path / "report" / "index.html").read_text()
    assert list((tmp_path / "report").rglob("*.md")) and list((tmp_path / "report").rglob("*.html"))


@pytest.mark.parametrize("asked", [["ingest", "--model", "tiny"], ["ingest"], ["export", "--model", "tiny"]])
def test_what_needs_the_extra_says_what_to_install(reader, house, asked):
    """An ingest before it fetches anything; an export where it comes to a .pt file."""
    done = reader(*asked, *(["--out", "files"] if asked[0] == "export" else []), cwd=house)
    assert (done.returncode, done.stdout) == (1, "")
    told = "error: this needs torch, which isn't installed: pip install 'eigenhouse[ingest]' brings it"
    assert done.stderr.splitlines()[-1] == told
    assert not (house / "cache" / "catalog").exists()
