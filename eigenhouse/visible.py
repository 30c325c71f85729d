"""Text for a terminal: what would steer it stands there as an escape, to be seen and not obeyed."""

from __future__ import annotations

import re

# control characters but for the end of a line and the tab, and those that turn the direction of reading: a name or a
# text that holds them could move the cursor, change colours and titles, or show another text than it is
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""The text with a \x1b in the place of each character that a terminal would obey; lines and tabs stay."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], text)
