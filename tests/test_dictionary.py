"""The page of the data dictionary says what the SQL headers say now, and each of its links leads somewhere."""

import re

from bench import dictionary
from eigenhouse.ingest.warehouse import sqlfiles

PAGE = dictionary.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_headers_say():
    assert dictionary.page() == PAGE, f"the SQL headers say something else now; run `{dictionary.COMMAND}`"


def test_every_relation_has_an_entry():
    """Names and the columns of the tables are read off the files, not off a warehouse."""
    entries = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    found = {entry.split("\n", 1)[0]: entry for entry in entries}
    paths = [path for folder in ("tables", "views", "macros") for path in sqlfiles.files(folder)]
    assert sorted(found) == sorted(path.stem for path in paths)
    for table, meta in sqlfiles.tables().items():
        if table in sqlfiles.kept_tables():
            continue  # what its view has
        assert sorted(re.findall(r"^\| `(\w+)` \| [A-Z]", found[table], re.MULTILINE)) == sorted(meta["columns"])
        assert f"A row for each {', '.join(f'`{column}`' for column in meta['grain'])}." in found[table]


def test_no_cell_is_empty():
    assert re.findall(r"^\|.*\| +\|.*$", PAGE, re.MULTILINE) == []
