"""What a row of the bench is: two measurements in one run on one machine, and the ratio that is wanted of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.setting import Setting


class NotRun(Exception):
    """Why a row has no number here: something isn't on this machine, or failed."""


@dataclass(frozen=True)
class Pair:
    """ours beside theirs, in the same unit; theirs may be a limit. note: what the page says of this run."""

    ours: float
    theirs: float
    unit: str = "s"
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """at_least: the reach of theirs/ours · at_most: the reach of ours/theirs; one of the two.

    is_long: left out unless it is asked for by name, since the bench has a quarter of an hour.
    """

    name: str
    what: str
    against: str
    measure: Callable[[Setting], Pair]
    at_least: float | None = None
    at_most: float | None = None
    is_long: bool = False

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"want at_least or at_most for {self.name}, one of the two")

    @property
    def reach(self) -> str:
        return f"≥ {self.at_least:g}×" if self.at_least is not None else f"≤ {self.at_most:g}×"

    def result(self, pair: Pair) -> dict[str, Any]:
        """The row in results.json."""
        ratio = pair.theirs / pair.ours if self.at_least is not None else pair.ours / pair.theirs
        is_reached = ratio >= self.at_least if self.at_least is not None else ratio <= (self.at_most or 0)
        return self.told() | asdict(pair) | {"ratio": ratio, "is_reached": is_reached}

    def told(self) -> dict[str, Any]:
        return {"what": self.what, "against": self.against, "reach": self.reach}
