# pyright: basic
"""Compiled kernels run in as many threads as PyTorch does."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from snn2hw.compiled import numba, threads_there

# Numba starts its threads when it is asked for their number, and PyTorch then has as many.
_chosen = torch.get_num_threads()
MOST_THREADS = threads_there()
torch.set_num_threads(_chosen)


@contextmanager
def threads_of_torch() -> Generator[None, None, None]:
    """Give the kernels as many threads as PyTorch has; what simulates afterwards keeps its own."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(torch.get_num_threads(), MOST_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)
