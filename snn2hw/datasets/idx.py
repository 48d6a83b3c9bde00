"""MNIST and Fashion-MNIST, in the IDX format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snn2hw.archives import gunzip
from snn2hw.datasets.checks import checked
from snn2hw.datasets.dataset import Dataset, Ints, Request
from snn2hw.datasets.search import Remote, find_or_download
from snn2hw.errors import InputError

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_remotes(hashes: Sequence[str], mirrors: Sequence[str]) -> dict[str, Remote]:
    return {
        file: Remote(sha256, tuple(f"{mirror}/{file}" for mirror in mirrors))
        for file, sha256 in zip(IDX_FILES, hashes, strict=True)
    }


IDX_REMOTES = {
    "mnist": _idx_remotes(
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
    ),
    "fashion-mnist": _idx_remotes(
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
    ),
}


def load_idx(request: Request) -> Dataset:
    """Load one of ``IDX_REMOTES``."""
    name = request.name
    folder = find_or_download(name, request.data_dir, (name,), IDX_REMOTES[name])
    x_train, y_train, x_test, y_test = (read_idx(folder / file) for file in IDX_FILES)
    return checked(
        name, x_train[:, None], y_train, x_test[:, None], y_test, classes=10, max_value=255
    )


def read_idx(path: Path) -> Ints:
    """Read a gzip-packed IDX file of bytes (LeCun's MNIST page); shape as in its header.

    Raises:
        InputError: it is none, or does not hold what its header says.
    """
    content = gunzip(path)
    magic = bytes(content[:4])
    if magic not in (b"\0\0\x08\1", b"\0\0\x08\3"):
        raise InputError(f"{path} is not an IDX file of bytes (it starts {magic!r}).")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if len(content) - start != math.prod(shape):
        raise InputError(
            f"{path} holds {len(content) - start} bytes of pixels, its header says "
            f"{math.prod(shape)}.",
            "Is it complete?",
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
