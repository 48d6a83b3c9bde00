"""A few made-up recordings, in files as they are published."""

from __future__ import annotations

import h5py
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


def spoken_digits(folder, r, **changed):
    """Write SHD's two files; return how many events each channel has, in each recording."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, labels in (("train", [0, 1, 19, 3]), ("test", [3, 0])):
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            for name, dtype, values in (
                ("times", np.float16, [np.sort(r.uniform(0, 1, 50)) for _ in labels]),
                ("units", np.uint16, [r.integers(0, 700, 50) for _ in labels]),
            ):
                values = changed.get(name, values)
                made = file.create_dataset(f"spikes/{name}", (len(values),), h5py.vlen_dtype(dtype))
                for i, v in enumerate(values):
                    made[i] = v.astype(dtype)
                if name == "units":
                    written[part] = [np.bincount(u, minlength=700) for u in values]
            file["labels"] = changed.get("labels", np.array(labels, np.uint16))
            file["extra/keys"] = [f"k{i}".encode() for i in range(20)]
            file["extra/speaker"] = np.zeros(len(labels), int)
    return written
