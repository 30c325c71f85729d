"""The Grams of the matrices that read hidden states in MLPs, on disk between the stages of weights and alignments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eigenhouse.ingest.models.matrices import Piece

READ_HIDDEN_STATES = ("gate", "up")


@dataclass(frozen=True)
class GramFiles:
    """Wᵀ W (hidden, hidden) float32 of each gate and up matrix of a stack: together they may be larger than any layer.

    also: where they may lie as well, if another stage made them.
    """

    folder: Path
    also: Path | None = None

    def save(self, layer: int, piece: Piece, gram: np.ndarray) -> None:
        np.save(self._path(self.folder, layer, piece), gram)

    def has(self, layer: int, piece: Piece) -> bool:
        return self._found(layer, piece) is not None

    def load(self, layer: int, piece: Piece) -> np.ndarray:
        """Mapped, not read."""
        path = self._found(layer, piece)
        assert path is not None, f"the Gram of {piece.parameter} was made"
        return np.load(path, mmap_mode="c")

    def remove(self) -> None:
        """Those of its own folder."""
        for path in self.folder.glob("gram_*.npy"):
            path.unlink()

    def _found(self, layer: int, piece: Piece) -> Path | None:
        paths = (self._path(folder, layer, piece) for folder in (self.folder, self.also) if folder)
        return next((path for path in paths if path.exists()), None)

    def _path(self, folder: Path, layer: int, piece: Piece) -> Path:
        return folder / f"gram_{layer:04d}_{piece.weight}_{piece.expert}.npy"
