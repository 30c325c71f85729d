"""Places along depth: a share of each model's own, where models differ in their number of layers."""

from dataclasses import dataclass
from typing import Any

from eigenhouse.analyses.charts.crowds import Crowd
from eigenhouse.ingest.warehouse import sqlfiles

STEPS = 24  # places along an axis, at most, where they are shares
MOST_LAYERS = 64  # places along it where they are layers
SHARES = {"distance": "distance, share of the depth", "k": "rank, share of the last"}
DEPTH = "relative depth (0 the first layer, 1 the last)"


@dataclass(frozen=True)
class Axis:
    """The places of the table `seen`; where they are shares, those of the table `spans` (model, span)."""

    is_share: bool  # of each model's own span
    n_places: int  # at most
    span: int  # the longest
    channel: dict[str, Any]  # settings of x, but for its column

    @property
    def said(self) -> str:
        return f", at {self.n_places} places of each model's depth" if self.is_share else ""


def of(crowd: Crowd) -> Axis:
    """What the crowd's places are; they must be there."""
    assert crowd.at
    if not crowd.is_depth:
        kind = crowd.at["type"]
        return Axis(False, 0, 0, {name: said for name, said in crowd.at.items() if name != "field"} | {"type": kind})
    kept = {name: said for name, said in crowd.at.items() if name not in ("field", "scale", "axis")}
    kept["type"] = "quantitative"
    crowd.con.execute(sqlfiles.statement("charts/spans"), {"is_layer": crowd.at["field"] not in SHARES})
    (shortest, longest) = crowd.con.execute("select min(span), max(span) from spans").fetchone() or (1, 1)
    shortest, longest = shortest or 1, longest or 1
    if shortest == longest and longest < MOST_LAYERS:
        whole = {"axis": {"tickMinStep": 1, "format": "d"}, "scale": {"nice": False, "zero": False}}
        return Axis(False, longest + 1, longest, kept | whole)
    share = {"title": SHARES.get(crowd.at["field"], DEPTH), "axis": {"values": [0, 0.5, 1], "format": "~g"}}
    return Axis(True, min(STEPS, longest + 1), longest, kept | share | {"scale": {"nice": False, "domain": [0, 1]}})
