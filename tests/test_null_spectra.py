"""Random heads: the drawing is repeatable, and its moments are those of Gaussian matrices."""

import numpy as np
import pytest

from eigenhouse.ingest.geometry.null_spectra import N_SAMPLES, null_sigma
from eigenhouse.ingest.stages.frames import null_frame


def test_second_moment_is_the_expected_one():
    """E‖W_Kᵀ W_Q‖² = c d²: a sum over c² pairs of rows of E (k_i·k_j)(q_i·q_j), which is d² where i = j, else 0."""
    head_dim, hidden_size = 13, 211
    energies = [np.square(null_sigma(hidden_size, head_dim, sample)).sum() for sample in range(N_SAMPLES)]
    # |k_i|²|q_i|² varies by √(4/d) = 14 %, its mean over 13 rows and 16 samples by 1 %
    assert np.mean(energies) == pytest.approx(head_dim * hidden_size**2, rel=0.04)


def test_samples_are_repeatable_and_differ():
    sigma = null_sigma(17, 5, 2)
    assert sigma.shape == (5,) and (np.diff(sigma) < 0).all() and (sigma > 0).all()
    assert (sigma == null_sigma(17, 5, 2)).all()
    assert not np.isclose(sigma, null_sigma(17, 5, 3)).any()
    assert null_sigma(3, 5, 0).shape == (3,)  # more rows than the space has dimensions


def test_frame_has_every_shape_once_in_the_order_of_the_key():
    frame = null_frame({(17, 5), (11, 7), (11, 3)})
    keys = frame.select("hidden_size", "head_dim", "sample", "k").rows()
    shapes = ((11, 3), (11, 7), (17, 5))
    assert keys == [(d, c, sample, k) for d, c in shapes for sample in range(N_SAMPLES) for k in range(c)]
    row = frame.filter(hidden_size=11, head_dim=7, sample=5, k=3)["sigma"].item()
    assert row == pytest.approx(null_sigma(11, 7, 5)[3], rel=1e-6)
