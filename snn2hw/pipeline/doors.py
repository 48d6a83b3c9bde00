"""``snn2hw.load``: a network from a file, a run, or a PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from snn2hw import nir_io, preprocessing, silence
from snn2hw.errors import InputError, listed
from snn2hw.ir.integer import IntNetwork
from snn2hw.ir.network import Network as Float
from snn2hw.pipeline import given
from snn2hw.pipeline.keywords import check, options_of, settled
from snn2hw.pipeline.loading import Model, load_model
from snn2hw.pipeline.objects import Network, Origin
from snn2hw.pipeline.training import need_training

OF_FILES = tuple(f.name for f in fields(nir_io.Choice))
OF_INPUTS = ("input_scale", "input_mean", "input_std")


def load(model: Any, /, **known: Any) -> Network | IntNetwork:
    """Load a run, a ``.nir`` or ``.net`` file, a shipped model by name, or a PyTorch module.

    What was guessed, repaired or replaced is warned about.

    Args:
        model: the file, folder or name; or a spiking ``nn.Module`` of snnTorch, Norse or our own
            layers, with a forward of its own or none (docs/modules.md says which).
        known: what a file may not say, by the names of ``nir_io.Choice``: ``dt`` (seconds),
            ``time_steps``, ``reset``, ``written_by``, ``input_max`` and the rules of a step. For a
            module: ``shape`` of a sample (``(C, H, W)``), ``dt``, ``time_steps``, ``input_max``,
            ``max_pool`` (``refuse``, ``neurons``, ``average``), ``time`` (``outside``, ``static``,
            ``first``, ``batch first``: how it takes its input, if that is not found out).

            For both: ``input_scale``, ``input_mean``, ``input_std`` if the author fed
            ``(scale x - mean) / std`` of integers ``x``, such as ``input_scale=1/255``: they are
            folded into the first layer, and ``input_max`` is 1 / scale unless it is given.

    Raises:
        UnsupportedError: names every part of a module that cannot be expressed.
    """
    if isinstance(model, str | Path):
        _others(known, OF_FILES, ("shape", "max_pool", "time"), "a module", "the file")
        found = load_model(str(model), Path(), nir_io.Choice(**settled(known)))
        origin, notes = Origin.read(found), list(found.notes)
        network = found.network
    else:
        network, notes = _of_module(given.module(model), known)
        said = {k: list(v) if isinstance(v, tuple) else v for k, v in settled(known).items()}
        said = {k: v for k, v in said.items() if v is not None}
        origin = Origin(Model("network", network, {}), said, {})
    given.warn(notes)
    return Network.of(network, origin) if isinstance(network, Float) else network


def _of_module(module: Any, known: Mapping[str, Any]) -> tuple[Float, list[str]]:
    need_training()
    from snn2hw.train import from_module

    _others(known, (*OF_INPUTS, *options_of(from_module)), OF_FILES, "a file", "the module")
    return _scaled_module(module, **settled(known))


def _others(
    known: Mapping[str, Any], mine: Sequence[str], others: Sequence[str], door: str, here: str
) -> None:
    """Refuse options that are not of this door.

    Raises:
        InputError: names those of another door, or the nearest of this one.
    """
    wrong = [k for k in known if k in others and k not in mine]
    if wrong:
        raise InputError(
            f"{listed(wrong)}: only for {door}; {here} says it itself.",
            f"Leave it out. Known: {listed(sorted(mine))}.",
        )
    check(known, mine)


def _scaled_module(
    module: Any,
    *,
    input_scale: float | None = None,
    input_mean: float | Sequence[float] | None = None,
    input_std: float | Sequence[float] | None = None,
    input_max: int | None = None,
    **known: Any,
) -> tuple[Float, list[str]]:
    from snn2hw.train import from_module

    done = preprocessing.said(input_scale, input_mean, input_std, input_max)
    most = input_max or (done.input_max if done else 1)
    network, notes = from_module(module, input_max=most, **known)
    if done is not None:
        network = done.applied(network)
    else:
        notes = [*notes, *preprocessing.unsaid(network, "input_scale")]
    return network, [*notes, *silence.notes(network)]
