# pyright: basic
"""What teachers are built from, and what a student of the same architecture takes from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from snn2hw.train.scaling import Scale, Scaled, Scaling, unit


class Settings(NamedTuple):
    """What every teacher is built from. Integers up to ``max_value`` are seen as 0 to 1.

    ``scaling`` says otherwise, for weights that were trained on other numbers.
    """

    shape: tuple[int, int, int]
    classes: int
    max_value: int
    scaling: Scaling | None = None

    def scale(self) -> Scale:
        """Return the module in front of the first layer."""
        return Scale(self.scaling or unit(self.max_value))


class Layer(NamedTuple):
    """Modules of a teacher, by dotted name, that make one synapse of a student.

    ``weight`` is None for a shortcut without parameters.
    """

    weight: str | None
    norm: str | None = None


class Layers(NamedTuple):
    """What a student of the same architecture takes from a teacher.

    Args:
        synapses: layer by the student's synapse; of the last dense layer too.
        activations: by the student's population, the module whose output, rectified, is the
            activation that its spikes stand for.
        pools: side of the maximum pooling in front of layers that have one.
    """

    synapses: Mapping[str, Layer]
    activations: Mapping[str, str]
    pools: Mapping[str, int] = {}


class Copied(Scaled):
    """A teacher that a student of the same architecture can take its weights from."""

    def layers(self) -> Layers:
        """Return its layers by the names of that student's."""
        raise NotImplementedError

    def stages(self) -> list[str]:
        """Return the modules whose outputs are the features of ``Student.stages``."""
        raise NotImplementedError
