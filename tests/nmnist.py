"""N-MNIST recordings as frames of event counts."""

from __future__ import annotations

from functools import cache

import numpy as np
from shared import DATA


@cache
def _stored():
    with np.load(DATA / "events" / "n-mnist" / "nmnist_subset.npz") as stored:
        return {k: stored[k] for k in stored.files}


def labels(samples):
    return _stored()["label"][list(samples)]


def frames(samples, *, bins=None, milliseconds=None):
    """``[N, T, 2, 34, 34]``: equal time bins of each recording, or steps of 1 ms."""
    return np.stack([_frame(i, bins, milliseconds) for i in samples])


def _frame(i, bins, milliseconds):
    z = _stored()
    a, b = z["start"][i : i + 2]
    t = np.cumsum(z["dt"][a:b].astype(np.int64))
    step = t // 1000 if bins is None else (t - t[0]) // ((t[-1] - t[0]) // bins)
    count = milliseconds if bins is None else bins
    inside = step < count
    out = np.zeros((count, 2, 34, 34), np.float32)
    np.add.at(out, tuple(v[inside] for v in (step, z["p"][a:b], z["y"][a:b], z["x"][a:b])), 1)
    return out
