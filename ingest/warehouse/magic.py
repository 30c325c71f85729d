"""What a DuckDB file begins with: known without DuckDB, so that nothing is written over one."""

from pathlib import Path

MAGIC = b"DUCK"
BEFORE = 8  # bytes of the checksum before it


def begins(path: Path) -> bytes:
    """What stands where a DuckDB file has its magic; empty in a shorter file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(BEFORE + len(MAGIC))[BEFORE:]


def is_warehouse(path: Path) -> bool:
    """Whether it is a DuckDB file, or the log that one's last rows wait in."""
    own = Path(str(path).removesuffix(".wal"))
    return own.is_file() and begins(own) == MAGIC
