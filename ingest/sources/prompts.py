"""Prompt sets: the texts that attention is measured on, under a name that changes when a text does.

A set is a file in one of these forms; any other suffix is read like .txt:

    .jsonl           each line a JSON string, or an object with a "text" (other fields are ignored)
    .json            one list of the same
    .txt             one prompt a line; blank lines are skipped
    .csv, .parquet   a column named text

Texts are kept exactly as written, duplicates included; only a byte-order mark and the line ends of .txt go.
How many tokens a text has depends on the tokenizer, which is not known here.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.sources import regular

STANDARD = Path(__file__).parent / "prompt_sets" / "standard.jsonl"


@dataclass(frozen=True)
class PromptSet:
    """Prompts in their order; prompt number i of the warehouse is texts[i].

    name: file stem, '@', first 8 hex digits of the set's SHA-256, e.g. "standard@1a2b3c4d"
    sha256s: of each text's UTF-8 bytes, 64 hex digits
    """

    name: str
    texts: tuple[str, ...]
    sha256s: tuple[str, ...]


def read_prompts(path: Path = STANDARD) -> PromptSet:
    """The prompt set in a file, or an EigenhouseError that says where the file is at fault."""
    path = Path(path).expanduser()
    texts = [_checked(path, where, text) for where, text in _items(path)]
    if not texts:
        raise EigenhouseError(f"want at least one prompt in {path}; got none (the file is empty or blank)")
    digests = [hashlib.sha256(text.encode("utf-8")).digest() for text in texts]
    stem = re.sub(r"[#@\s]", "-", path.stem)
    return PromptSet(
        name=f"{stem}@{set_sha256(digests)[:8]}",
        texts=tuple(texts),
        sha256s=tuple(digest.hex() for digest in digests),
    )


def set_sha256(digests: list[bytes]) -> str:
    """SHA-256 over the texts' 32-byte digests, joined in order: the form of the file makes no difference."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _items(path: Path) -> Iterator[tuple[str, object]]:
    """(where, text) of every prompt, unchecked; where is "line 3", "item 3" or "row 3", counted from 1."""
    content = _content(path)
    readers = {
        ".csv": _table_items,
        ".parquet": _table_items,
        ".json": _list_items,
        ".jsonl": _json_line_items,
    }
    return readers.get(path.suffix.lower(), _line_items)(path, content)


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise EigenhouseError(f"want a file of prompts; got the folder {path} (name one file inside it)")
    try:
        return regular.content(path)
    except FileNotFoundError:
        raise EigenhouseError(
            f"want a file of prompts; got {path}, which does not exist (looked from {Path.cwd()})"
        ) from None
    except OSError as error:
        raise EigenhouseError(f"want a readable file of prompts; got {path}: {error.strerror or error}") from None


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EigenhouseError(
            f"want UTF-8 text in {path}; got byte 0x{content[error.start]:02x} on line {line} "
            "(saved as UTF-16 or Latin-1, or not a text file?)"
        ) from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank. str.splitlines would also cut at U+2028 and form feeds."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip():
            yield number, line.removesuffix("\n")


def _line_items(path: Path, content: bytes) -> Iterator[tuple[str, object]]:
    for number, line in _lines(_decoded(path, content)):
        yield f"line {number}", line


def _json_line_items(path: Path, content: bytes) -> Iterator[tuple[str, object]]:
    for number, line in _lines(_decoded(path, content)):
        entry = _parsed(
            path, line, number, "one JSON value a line", "a list over several lines belongs in a .json file"
        )
        yield f"line {number}", _text_of(entry)


def _list_items(path: Path, content: bytes) -> Iterator[tuple[str, object]]:
    text = _decoded(path, content)
    if not text.strip():
        return
    entries = _parsed(path, text, 1, "one JSON list", "one value a line belongs in a .jsonl file")
    if not isinstance(entries, list):
        raise EigenhouseError(
            f"want one JSON list of prompts in {path}; got {_kind(entries)} "
            "(one object a line belongs in a .jsonl file)"
        )
    for number, entry in enumerate(entries, start=1):
        yield f"item {number}", _text_of(entry)


def _parsed(path: Path, text: str, first_line: int, wanted: str, cause: str) -> object:
    """JSON that begins on the file's line first_line."""
    try:
        return regular.parsed(text)
    except ValueError as error:
        line = first_line + getattr(error, "lineno", 1) - 1
        reason = getattr(error, "msg", error)
        raise EigenhouseError(f"want {wanted} in {path}; got invalid JSON on line {line}: {reason} ({cause})") from None


def _text_of(entry: object) -> object:
    return entry.get("text") if isinstance(entry, dict) else entry


def _table_items(path: Path, content: bytes) -> Iterator[tuple[str, object]]:
    """Rows of the text column. A CSV row with nothing in any column is a blank line, skipped as in .txt."""
    if not content.strip():
        return
    import polars as pl

    is_csv = path.suffix.lower() == ".csv"
    try:
        if is_csv:
            frame = pl.read_csv(io.StringIO(_decoded(path, content)), infer_schema=False)
        else:
            frame = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        wanted, cause = (
            ("a CSV", "a comma or quote in a text that is not in quotes?") if is_csv else ("a Parquet", "cut short?")
        )
        said = first_line(error)
        raise EigenhouseError(f"want {wanted} file with a column text; got {path}: {said} ({cause})") from None
    if "text" not in frame.columns:
        raise EigenhouseError(
            f"want a column named text in {path}; got {', '.join(frame.columns)} (no header line, or another name?)"
        )
    for number, row in enumerate(frame.iter_rows(named=True), start=1):
        if not is_csv or any(value is not None for value in row.values()):
            yield f"row {number}", row["text"]


def _checked(path: Path, where: str, text: object) -> str:
    """A prompt is a string with something in it that UTF-8 can hold."""
    if not isinstance(text, str):
        raise EigenhouseError(
            f'want a string, or an object with a string "text", on {where} of {path}; '
            f"got {_kind(text)} (field missing, empty, or under another name?)"
        )
    if not text.strip():
        raise EigenhouseError(f"want a prompt on {where} of {path}; got an empty text (remove it, or fill it in)")
    if "\0" in text:
        raise EigenhouseError(f"want text on {where} of {path}; got a NUL character (not a text file, or UTF-16?)")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EigenhouseError(
            f"want Unicode text on {where} of {path}; got half a surrogate pair at character {error.start} "
            "(an escape cut in two when the file was made?)"
        ) from None
    return text


def _kind(value: object) -> str:
    """The type of a value of JSON or of a table, in words."""
    names = {
        type(None): "no text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        dict: "an object",
        list: "a list",
    }
    return names.get(type(value), "a string" if isinstance(value, str) else f"a value of type {type(value).__name__}")
