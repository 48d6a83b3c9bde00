"""Arrays of the user's own, in an npz file."""

from __future__ import annotations

from snn2hw.archives import read_npz
from snn2hw.datasets.checks import checked
from snn2hw.datasets.dataset import Dataset, Request
from snn2hw.files import expanded

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
HOW_TO_SAVE = "Use numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)."


def load_npz(request: Request) -> Dataset:
    """Load ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of a file."""
    arrays = read_npz(expanded(request.argument), NPZ_KEYS, hint=HOW_TO_SAVE)
    x_train, y_train, x_test, y_test = (arrays[k] for k in NPZ_KEYS)
    return checked(f"npz:{request.argument}", x_train, y_train, x_test, y_test)
