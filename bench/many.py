"""What questions cost in a warehouse of many models: each saved query over all of them, and over one.

`python -m bench.many --models 1000 --rows 1e9 --keep many.duckdb` makes the warehouse, in chunks, after a look at the
disk; without --keep it goes again. Beside each question about one model stands the same in a file of that model alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.made import warehouse
from eigenhouse.errors import EigenhouseError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rows", type=float, default=1e8, help="of facts, at most; they are as many as fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where the warehouse is made, and stays")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "many.duckdb"
        try:
            warehouse.make(path, arguments.models, int(arguments.rows), arguments.seed)
        except EigenhouseError as error:
            parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
