"""Sharing cores: parts of different layers that fit a core together lie on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from snn2hw.families.loihi.cut import Part, Uses, fullest


def packed(
    parts: Sequence[tuple[str, Part]], beside: Sequence[Uses], limits: Mapping[str, int]
) -> list[list[int]]:
    """Put parts on as few cores as first fit decreasing finds.

    The fullest part comes first, and each lies on the first core that has room for it and holds
    nothing of its layer, as neurons of one layer on one core are one part.

    Args:
        parts: layer and part, in the order of the network.
        beside: what each uses where it is not the first on its core.
        limits: of a core.

    Returns:
        The indices of the parts on each core, first the one that came first to it; cores in the
        order of the network.
    """
    names = list(limits)
    limit = np.array([limits[k] for k in names], np.int64)
    uses = np.array([[p.uses[k] for k in names] for _, p in parts], np.int64)
    more = np.array([[u[k] for k in names] for u in beside], np.int64)
    room = np.empty_like(uses)  # of each core so far
    cores: list[list[int]] = []
    of: dict[str, list[int]] = {}  # the cores of each layer
    share = [fullest(p.uses, limits)[0] for _, p in parts]
    for i in sorted(range(len(parts)), key=lambda i: (-share[i], i)):
        layer = parts[i][0]
        fits = (room[: len(cores)] >= more[i]).all(axis=1)
        fits[of.setdefault(layer, [])] = False
        at = int(fits.argmax()) if fits.any() else len(cores)
        if at == len(cores):
            cores.append([])
            room[at] = limit - uses[i]
        else:
            room[at] -= more[i]
        cores[at].append(i)
        of[layer].append(at)
    return sorted(cores, key=min)
