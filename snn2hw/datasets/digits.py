"""Scikit-learn's handwritten digits, which need no download."""

from __future__ import annotations

from typing import Any

import numpy as np

from snn2hw.datasets.dataset import Dataset, Request
from snn2hw.datasets.search import missing_package


def load_digits(request: Request) -> Dataset:
    """Load the digits, a third held out for test by a fixed draw in every class."""
    try:
        from sklearn import datasets, model_selection
    except ImportError:
        raise missing_package("scikit-learn", f"Data set {request.name!r}") from None
    bunch: Any = datasets.load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    split: Any = model_selection.train_test_split(
        images, labels, test_size=1 / 3, random_state=0, stratify=labels
    )
    x_train, x_test, y_train, y_test = split
    return Dataset(request.name, x_train, y_train, x_test, y_test, 10, 16)
