"""Data: inputs and data sets in npz, images, IDX, CIFAR, events; with builds that take them."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import tarfile
from pathlib import Path

import numpy as np
from fuzz.seeds import Files, contents, digits, packed, taking
from fuzz.seeds.networks import builds
from packed import packed_recordings, spoken_digits
from PIL import Image
from recorded import encoded, some_events


def arrays(scratch: Path) -> dict[str, Files]:
    """Inputs for ``--input``, of one port and of several, and data sets of the user's own."""
    found = builds(scratch / "builds")
    small = taking((1, 4, 4), scratch)
    labelled = packed(x=np.ones((2, 2, 16), int), y=np.array([0, 1]))
    real = packed(x=np.ones((2, 2, 16), np.float32), y=np.array([0.0, 1.0]))
    return {
        **{k: files for k, files in found.items() if k in ("tiny", "random3", "sdnn", "sums1")},
        "labelled": {**small, "x.npz": labelled},
        "real": {**small, "x.npz": real},
        "images": {**small, "d.npz": packed(**digits())},
        "frames": {**small, "d.npz": packed(**digits(shape=(2, 1, 4, 4)))},
    }


def pictures(scratch: Path) -> dict[str, Files]:
    """Folders of grey and coloured images, one for each format that is read."""
    builds_ = {n: taking((n, 4, 4), scratch) for n in (1, 3)}
    r = np.random.default_rng(0)
    found: dict[str, Files] = {}
    for kind, mode in (
        ("png", "L"), ("jpg", "L"), ("bmp", "RGB"), ("webp", "RGB"), ("gif", "P"),
        ("tif", "L"), ("pgm", "L"), ("ppm", "RGB"), ("png", "RGBA"), ("png", "P"),
    ):  # fmt: skip
        files = dict(builds_[1 if mode == "L" else 3])
        for part, label, number in itertools.product(("train", "test"), "ab", range(2)):
            pixels = Image.fromarray(r.integers(0, 256, (4, 4), dtype=np.uint8)).convert(mode)
            memory = io.BytesIO()
            pixels.save(memory, {"jpg": "jpeg", "tif": "tiff", "pgm": "ppm"}.get(kind, kind))
            files[f"pictures/{part}/{label}/{number}.{kind}"] = memory.getvalue()
        found[f"{kind} {mode}"] = files
    return found


def idx_and_cifar(scratch: Path) -> dict[str, Files]:
    """MNIST in its IDX files; CIFAR as batches, in an archive and as sheets."""
    r = np.random.default_rng(0)
    mnist, cifar = taking((1, 28, 28), scratch), taking((3, 32, 32), scratch)
    idx: Files = {}
    for part, n in (("train", 20), ("t10k", 6)):
        pixels = r.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        head = struct.pack(">4I", 2051, n, 28, 28)
        labels = struct.pack(">2I", 2049, n) + (np.arange(n) % 10).astype(np.uint8).tobytes()
        idx[f"data/mnist/{part}-images-idx3-ubyte.gz"] = gzip.compress(
            head + pixels.tobytes(), mtime=0
        )
        idx[f"data/mnist/{part}-labels-idx1-ubyte.gz"] = gzip.compress(labels, mtime=0)
    batches = {
        name: b"".join(bytes([k]) + r.bytes(3072) for k in (i % 5, (i + 1) % 5))
        for i, name in enumerate((*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"))
    }
    inside = "cifar-10-batches-bin"
    hundred = {f"{p}.bin": b"".join(bytes([0, k]) + r.bytes(3072) for k in (3, 4))
               for p in ("train", "test")}  # fmt: skip
    return {
        "idx": mnist | idx,
        "batches": cifar | {f"data/cifar10/{inside}/{k}": v for k, v in batches.items()},
        "archive": cifar | {"data/cifar10/cifar-10-binary.tar.gz": _archive(inside, batches)},
        "sheets": cifar | _sheets(r),
        "hundred": cifar | {f"data/cifar100/cifar-100-binary/{k}": v for k, v in hundred.items()},
    }


def _archive(folder: str, batches: Files) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in batches.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(memory.getvalue(), mtime=0)


def _sheets(r: np.random.Generator) -> Files:
    found: Files = {}
    for part in ("train", "test"):
        memory = io.BytesIO()
        pixels = r.integers(0, 256, (4 * 32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(memory, "webp", lossless=True)
        found[f"data/cifar10/{part}-000.webp"] = memory.getvalue()
        memory = io.BytesIO()
        np.save(memory, np.arange(4))
        found[f"data/cifar10/{part}_labels.npy"] = memory.getvalue()
    return found


def events(scratch: Path) -> dict[str, Files]:
    """Packed recordings and spoken digits, and builds that take their frames."""
    packed_recordings(scratch / "nmnist_subset.npz", each=27, events=4)
    content = (scratch / "nmnist_subset.npz").read_bytes()
    spoken_digits(scratch / "data" / "SHD", np.random.default_rng(0))
    spoken = {f"data/{k}": v for k, v in contents(scratch / "data").items()}
    return {
        "packed": taking((2, 34, 34), scratch) | {"data/nmnist/nmnist_subset.npz": content},
        "spoken": taking((700, 1, 1), scratch) | spoken,
    }


def recordings(scratch: Path) -> dict[str, Files]:
    """Recordings of every kind alone, and a folder of them; and builds that take their frames."""
    small, tenth = taking((2, 20, 34), scratch), taking((2, 26, 35), scratch)
    events = some_events(60)
    found = {
        kind: small | {f"a.{kind.rpartition('.')[2]}": encoded(f".{kind}", events)}
        for kind in ("bin", "bs2", "dat", "es", "evt2.raw", "evt3.raw")
    }
    clips = {
        f"clips/{label}/{i}.{kind}": encoded(f".{kind}", events)
        for label in "ab" for i, kind in enumerate(("dat", "raw"))
    }  # fmt: skip
    davis = Path(__file__).parents[2] / "fixtures" / "davis346_two_packets.aedat4"
    found["aedat4"] = tenth | {"a.aedat4": davis.read_bytes()}
    return {**found, "folder": small | clips}
