"""A budget of neurocores: how sparse a student must be to fit into it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from snn2hw import families
from snn2hw import target as targets
from snn2hw.errors import DoesNotFitError, InputError, listed, shortened
from snn2hw.ir.network import Network
from snn2hw.ir.target import Target
from snn2hw.pipeline.compiler import compile_network, reasons

if TYPE_CHECKING:
    from snn2hw.datasets import Dataset
    from snn2hw.train import Progress, Recipe, Spiking

SHOWN = 600  # characters of reasons that are shown before a training
PARTS = 1000  # sparsities are told apart in such parts


def foresee(recipe: Recipe, dataset: Dataset, progress: Progress | None) -> None:
    """Say before training if the chip that a student is for would refuse it as it is now.

    Training and pruning remove connections, so that it may fit afterwards. The default chip, which
    holds all students but the largest, is not asked.

    Raises:
        InputError: no such student can be trained for the chip at all.
    """
    if progress is None or recipe.target == families.DEFAULT_TARGET:
        return
    from snn2hw import train

    chip = targets.load(recipe.target)
    found = reasons(train.to_network(train.new_student(recipe, dataset)), chip)
    if found:
        doubt = (
            f"{chip.title} refuses an untrained {recipe.student}: "
            f"{shortened(listed(found, '; '), SHOWN)}. Unless training or pruning removes enough "
            "of it, the trained one will be refused, too: a smaller --student is safer"
        )
        progress.update("student", 0, 0, doubts=[doubt])


def cores_of(net: Network, target: Target) -> float:
    """Return on how many cores of a chip a network lies, however many the chip has.

    Infinity, if some neuron does not fit a core.

    Raises:
        UnsupportedError: the chip cannot run the network at all.
    """
    chips = replace(target.limits["chips"], value=1e9, low=1e9, high=1e9)
    endless = replace(target, limits={**target.limits, "chips": chips})
    try:
        return compile_network(net, endless).placement.cores
    except DoesNotFitError:
        return math.inf


def density_for_cores(student: Spiking, target: Target, cores: int, how: str = "lamp") -> float:
    """Find the density, in parts of 1/1000, at which a student fits into so many cores.

    The student is pruned without training and compiled, at sparsities that halve an interval. The
    density that is found fits; the next larger that was tried does not. Cores do not always fall
    with the sparsity: a chip may store a half-empty layer in more memory than a full one.

    Args:
        student: what ``train.to_network`` takes.
        target: the chip.
        cores: the budget.
        how: the pruner, by whose scores weights go where it has any, else by LAMP's.

    Raises:
        InputError: fewer cores than the sparsest student needs; says how many that is.
        UnsupportedError: the chip cannot run the student.
    """
    from snn2hw import train  # who has a student has PyTorch; others need not import it

    def needs(part: int) -> float:
        return cores_of(train.to_network(train.at_once(student, part / PARTS, how)), target)

    dense = cores_of(train.to_network(student), target)
    if dense <= cores:
        return 1.0
    below, above = 0, _sparsest(student, how)
    least = needs(above)
    if least > cores:
        raise InputError(
            f"With {100 * above / PARTS:g} % of its weights zero the student still needs "
            f"{least:g} cores of {target.title} (dense: {dense:g}); the budget is {cores}.",
            f"Ask for {least:g} or more, or take a narrower student.",
        )
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if needs(middle) <= cores else (middle, above)
    return (PARTS - above) / PARTS


def _sparsest(student: Spiking, how: str) -> int:
    """Return the largest sparsity, in parts of 1/1000, that leaves no layer empty."""
    from snn2hw import train

    low, high = 0, PARTS
    while high - low > 1:
        middle = PARTS - 1 if high == PARTS and low == 0 else (low + high) // 2  # usually enough
        try:
            train.at_once(student, middle / PARTS, how)
            low = middle
        except InputError:
            high = middle
    return low
