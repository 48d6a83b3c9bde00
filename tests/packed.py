"""A few made-up recordings in one file, as ``nmnist_subset.npz`` has them."""

from __future__ import annotations

import numpy as np


def packed_recordings(path, each=35, events=60):
    """Write and return recordings of classes 8 (on the left) and 9 (on the right).

    ``each`` are of the training part of their class, and four of the test part.
    """
    r = np.random.default_rng(0)
    label = np.tile([8, 9], each + 4).astype(np.uint8)
    counts = r.integers(events // 2, events, len(label))
    of_event = np.repeat(label, counts)
    total = int(counts.sum())
    packed = {
        "x": (r.integers(0, 17, total) + 17 * (of_event == 9)).astype(np.uint8),
        "y": r.integers(0, 34, total).astype(np.uint8),
        "p": r.integers(0, 2, total).astype(np.uint8),
        "dt": r.integers(0, 8000, total).astype(np.uint32),
        "start": np.concatenate([[0], np.cumsum(counts)]),
        "label": label,
        "is_test": (np.arange(len(label)) >= 2 * each).astype(np.uint8),
    }
    np.savez(path, **packed)
    return packed
