# pyright: basic
"""What the chip that a student is for asks of its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snn2hw import families
from snn2hw import target as targets
from snn2hw.errors import InputError
from snn2hw.ir.arrays import Shape, size_of
from snn2hw.ir.network import Rules
from snn2hw.ir.neuron import NeuronRules

if TYPE_CHECKING:
    from snn2hw.train.recipe import Recipe

USUAL_DECAY = 0.5


def rules_of(target: str) -> NeuronRules:
    """Return what the neurons of a target compute.

    Raises:
        InputError: there is no such target.
    """
    chip = targets.load(target)
    return families.of(chip).trains(chip)


def own_constants(rules: NeuronRules) -> dict[str, Any]:
    """Return the constants of a recipe that the chip's neurons leave no choice of."""
    found: dict[str, Any] = {}
    if rules.needs_current:
        found |= {"neuron": "cuba", "current_beta": rules.current.nearest(USUAL_DECAY)}
    if rules.membrane.nearest(USUAL_DECAY) != USUAL_DECAY:
        found["beta"] = rules.membrane.nearest(USUAL_DECAY)
    if len(rules.resets) == 1:
        found["reset"] = rules.resets[0]
    if rules.bias == "membrane":
        found["norm"] = "none"
    if len(rules.readouts) == 1:
        found["readout"] = rules.readouts[0]
    return found


def check_recipe(recipe: Recipe, rules: NeuronRules) -> None:
    """Refuse what the chip's neurons do not do.

    Raises:
        InputError: names everything, and what to choose instead.
    """
    problems: list[str] = []
    choose: list[str] = []

    def wrong(problem: str, name: str, value: Any) -> None:
        problems.append(problem)
        choose.append(f"{name}={value}")

    if rules.needs_current and recipe.neuron != "cuba":
        wrong(
            f"neuron is {recipe.neuron!r}, the chip's have a synaptic current with a memory",
            "neuron", "cuba",
        )  # fmt: skip
    if recipe.reset not in rules.resets:
        wrong(f"reset is {recipe.reset!r}, which the chip's neurons do not do", "reset",
              rules.resets[0])  # fmt: skip
    if recipe.readout not in rules.readouts:
        wrong(f"readout is {recipe.readout!r}, the chip sends spikes", "readout", rules.readouts[0])
    if rules.bias == "membrane" and recipe.norm != "none":
        wrong(
            f"norm is {recipe.norm!r}, which gives currents a bias, the chip's acts on the "
            "membrane", "norm", "none",
        )  # fmt: skip
    beta = 1.0 if recipe.neuron == "if" else recipe.beta
    decays = [("beta", beta, rules.membrane)] if recipe.neuron != "if" else []
    if recipe.neuron == "cuba":
        decays.append(("current_beta", recipe.current_beta, rules.current))
    for name, decay, known in decays:
        if known.nearest(decay) != decay:
            wrong(f"{name} is {decay}, not {known}", name, known.nearest(decay))
    if problems:
        raise InputError(
            f"The recipe cannot be used for {recipe.target}: {'; '.join(problems)}.",
            f"Choose {', '.join(choose)}, or another --target.",
        )


def check_size(recipe: Recipe, rules: NeuronRules, shape: Shape, classes: int) -> None:
    """Refuse data that a chip has not enough inputs or outputs for, whatever the student.

    Args:
        recipe: of the run.
        rules: of the chip's neurons.
        shape: of a step of the input.
        classes: of the data.

    Raises:
        InputError: says how many there are, and may be.
    """
    problems: list[str] = []
    if rules.channels is not None and size_of(shape) > rules.channels:
        problems.append(
            f"a step of {recipe.data!r} by encoder {recipe.encoder!r} has {size_of(shape)} values, "
            f"the chip {rules.channels} inputs"
        )
    if rules.classes is not None and classes > rules.classes:
        problems.append(f"{recipe.data!r} has {classes} classes, the chip {rules.classes} outputs")
    if problems:
        raise InputError(
            f"No student for {recipe.target} can be trained so: {'; '.join(problems)}.",
            "Show fewer values a step (encoders rows and grid), or choose other data or another "
            "--target.",
        )


def check_input(recipe: Recipe, rules: NeuronRules, largest: int) -> None:
    """Refuse an input that sends larger numbers than the chip's takes.

    Raises:
        InputError: says how large they are, and may be.
    """
    if rules.most_in is not None and largest > rules.most_in:
        raise InputError(
            f"Encoder {recipe.encoder!r} shows numbers up to {largest}; an input of "
            f"{recipe.target} takes at most {rules.most_in} spikes a step.",
            f"Show images row by row in fewer levels, rows:levels={rules.most_in}, or as spikes "
            f"(rate, latency); recordings in cells, grid:most={rules.most_in}.",
        )


def check_module(recipe: Recipe, rules: NeuronRules) -> None:
    """Refuse to train a module of the user's own, with neurons of its own, for such a chip.

    Raises:
        InputError: the chip's neurons are not those of other people's modules.
    """
    if rules.of_network != Rules():
        raise InputError(
            f"The neurons of {recipe.target} send several spikes a step or spike at the threshold, "
            "those of a module of your own do not.",
            "Name a student (see `snn2hw models`), or train for another target and rewrite.",
        )
