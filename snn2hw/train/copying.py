# pyright: basic
"""Start a student from the weights of a teacher of its architecture.

This is the first level of SAKD (Qiu et al., Neural Networks 178, 2024, 106475; read from its
abstract, so that what is done with thresholds and batch norm is a choice of ours). A population's
threshold stands for an activation ``theta``: a neuron that spikes in every step says ``theta``.
For many steps that is a high percentile of what the teacher's activations are (Rueckauer et al.,
2017, Front. Neurosci. 11:682). T steps tell at most T + 1 values apart, so a large ``theta`` rounds
most activations to nothing and a small one cuts the large ones off: it is the percentile with the
least squared error, for the rate that such a neuron has under a constant current. Thresholds of
students are 1, so ``theta`` is folded into what surrounds them: what comes in grows by it, batch
norm's scale and shift are divided by it.

Neurons do not spike exactly as often as their currents say, and what is lost adds up from layer to
layer. So batch norm's statistics are measured again with spikes, which sets the mean and variance
of each channel to what the teacher's batch norm had made of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.methods import watch
from snn2hw.train.neurons import Lif
from snn2hw.train.scaling import Scaling
from snn2hw.train.showing import Show, shown
from snn2hw.train.students import SOURCE, Branch, Student, Synapse
from snn2hw.train.teachers import Copied, Layer, Layers

OUTPUT_PERCENTILE = 99.9
# Of the activations that are not 0: what theta may be.
PERCENTILES = (50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 93.0, 95.0, 97.0, 98.0, 99.0, 99.5, 99.9)
COMPARED = 4096  # activations of a population in each batch, all of them if there are fewer

_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def copy_teacher(
    student: nn.Module,
    teacher: nn.Module,
    batches: Sequence[Tensor],
    *,
    show: Show | None = None,
    lift: float | None = None,
    remeasure: bool = True,
) -> dict[str, float]:
    """Give a student the weights of a teacher of the same layers, in place.

    Args:
        student: a ``Student``.
        teacher: a ``Copied``, trained.
        batches: integer samples ``[B, ...]`` of the training data.
        show: how the student is shown them; weights are those of pixels, spikes get their mean.
        lift: added to every current behind batch norm, in thresholds, for what neurons lose:
            half of what they forget or drop in a step; None takes that, see ``lift_of``.
        remeasure: measure batch norm's statistics with spikes.

    Returns:
        ``theta`` by population.

    Raises:
        InputError: the two have different layers; all that differ are named.
    """
    layers = matched(student, teacher)
    assert isinstance(student, Student)
    assert isinstance(teacher, Copied)
    theta, logits = _measured(student, teacher, layers, batches, lift)
    theta[student.output] = _percentiles(logits, (OUTPUT_PERCENTILE,))[0]
    theta = _one_for_each_trunk(student, theta)
    top = student.max_value if show is None else show.pixels
    with torch.no_grad():
        for branch, population in _first_uses(student).values():
            _copy(student, teacher, layers.synapses, branch, population, theta, top)
        _copy_output(student, teacher, layers, theta, logits)
    if lift != 0.0:
        _lift(student, lift)
    if remeasure:
        starts = itertools.accumulate((len(b) for b in batches), initial=0)
        seen = [
            shown(show, b, range(at, at + len(b))) for at, b in zip(starts, batches, strict=False)
        ]
        remeasure_norms(student, seen)
    return theta


def _first_uses(student: Student) -> dict[str, tuple[Branch, str]]:
    """Return each synapse's branch, and the first population that it feeds."""
    found: dict[str, tuple[Branch, str]] = {}
    for population in student.wiring:
        for branch in population.branches:
            found.setdefault(branch.synapse, (branch, population.name))
    return found


def _one_for_each_trunk(student: Student, theta: Mapping[str, float]) -> dict[str, float]:
    """Give populations that read the same currents one ``theta``, the mean of theirs."""
    readers: dict[Branch, list[str]] = {}
    for population in student.wiring:
        readers.setdefault(population.branches[0], []).append(population.name)
    return {
        name: float(np.mean([theta[n] for n in names]))
        for names in readers.values()
        for name in names
    }


def lift_of(student: Student, beta: float, reset: str) -> float:
    """Return half of what a neuron's membrane does not turn into spikes, for each step."""
    left = 0.5 * (1.0 - beta) if reset == "subtract" else 0.0
    return left + 0.5 / student.time_steps


def remeasure_norms(student: nn.Module, batches: Sequence[Tensor]) -> None:
    """Measure the statistics of all batch norms anew: the mean over batches, first layer first.

    In training mode each layer is normalized by its own batch, so all layers can be measured at
    once: what reaches a layer has the statistics that are being measured.
    """
    norms = [m for m in student.modules() if isinstance(m, _Norm)]
    before = [m.momentum for m in norms]
    training = student.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    student.train()
    with torch.no_grad():
        for batch in batches:
            student(batch)
    student.train(training)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def matched(student: nn.Module, teacher: nn.Module) -> Layers:
    """Return the teacher's layers if the student has the same.

    Raises:
        InputError: it has not; says which.
    """
    if not isinstance(student, Student) or not isinstance(teacher, Copied):
        raise InputError(
            f"The weights of a {type(teacher).__name__} cannot start a {type(student).__name__}.",
            "Use a teacher and a student that come with snn2hw.",
        )
    layers = teacher.layers()
    mine = {b.synapse: b for p in student.wiring for b in p.branches}
    problems = [f"{n} is only in the student" for n in mine if n not in layers.synapses]
    trunk = len(mine) < sum(len(p.branches) for p in student.wiring)
    problems += [
        f"{n} is only in the teacher"
        for n, layer in layers.synapses.items()
        if n not in mine and not (trunk and layer.weight is None)  # a trunk needs no shortcut
    ]
    problems += [f"{n} stands behind maximum pooling of {k}" for n, k in layers.pools.items()]
    for name in mine.keys() & layers.synapses.keys():
        problems += [f"{name}: {why}" for why in _differences(student, teacher, mine[name], layers)]
    if problems:
        more = f" and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise InputError(
            f"The student's layers are not the teacher's: {'; '.join(sorted(problems)[:6])}{more}.",
            "Copying needs the same architecture, such as teacher resnet20 and student resnet20, "
            "or resnet18 and spiking-resnet18; other methods take any pair.",
        )
    return layers


def _differences(
    student: Student, teacher: nn.Module, branch: Branch, layers: Layers
) -> Iterator[str]:
    synapse = student.get_submodule(branch.synapse)
    layer = layers.synapses[branch.synapse]
    assert isinstance(synapse, Synapse)
    if len(branch.sources) > 1 or (layer.weight is not None and _passes(synapse)):
        yield "the student adds something else there"
        return
    if layer.norm is not None and synapse.norm is None:
        yield "batch norm in the teacher, none in the student"
    if layer.weight is None:
        if not _passes(synapse):
            yield "a convolution in the student, nothing in the teacher"
        return
    weight = teacher.get_submodule(layer.weight)
    for name in ("weight", "stride", "padding", "groups"):
        ours, theirs = (_plain(getattr(m, name, None)) for m in (synapse.weight, weight))
        if ours != theirs:
            yield f"{name} {theirs} in the teacher, {ours} in the student"


def _passes(synapse: Synapse) -> bool:
    return synapse.norm is None and not isinstance(synapse.weight, nn.Linear)


def _plain(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else value


def _measured(
    student: Student,
    teacher: Copied,
    layers: Layers,
    batches: Sequence[Tensor],
    lift: float | None,
) -> tuple[dict[str, float], Tensor]:
    """Return ``theta`` by population, and the teacher's logits ``[N, classes]``."""
    modules = {n: teacher.get_submodule(m) for n, m in layers.activations.items()}
    found: dict[str, list[float]] = {name: [] for name in modules}
    logits: list[Tensor] = []
    neurons = student.populations()
    teacher.eval()
    with torch.no_grad(), watch(modules) as seen:
        for batch in batches:
            logits.append(teacher(batch))
            for name, values in found.items():
                values.append(_best(seen[name], neurons[name], student, lift))
    return {name: float(np.mean(v)) for name, v in found.items()}, torch.cat(logits)


def _best(activations: Tensor, neuron: Lif, student: Student, lift: float | None) -> float:
    """Return the percentile of activations that a neuron's rate, times it, is nearest to."""
    values = activations[activations > 0].float().cpu()
    if not len(values):
        return 1.0
    thetas = torch.tensor(_percentiles(values, PERCENTILES))[:, None]
    values = values[:: -(-len(values) // COMPARED)]
    more = lift_of(student, neuron.beta, neuron.reset) if lift is None else lift
    rates = neuron((values / thetas + more)[None], student.time_steps).mean(0)
    return float(thetas[(rates * thetas - values).square().mean(1).argmin()])


def _percentiles(values: Tensor, shares: Sequence[float]) -> list[float]:
    above = values[values > 0].float().cpu().numpy()
    return [float(v) for v in np.percentile(above, shares)] if above.size else [1.0] * len(shares)


def _copy(
    student: Student,
    teacher: Copied,
    layers: Mapping[str, Layer],
    branch: Branch,
    population: str,
    theta: Mapping[str, float],
    top: int,
) -> None:
    synapse = student.get_submodule(branch.synapse)
    assert isinstance(synapse, Synapse)
    layer = layers[branch.synapse]
    source = branch.sources[0]
    into = theta.get(source, 1.0)
    if layer.weight is None:
        synapse.weight.weight.mul_(into / theta[population])
        return
    taken: Any = teacher.get_submodule(layer.weight)
    weight, shift = taken.weight.detach().clone(), taken.weight.new_zeros(len(taken.weight))
    if source == SOURCE:
        weight, shift = _of_integers(weight, teacher.scale.scaling, student.shape[0], top)
    synapse.weight.weight.copy_(weight)
    if layer.norm is None:
        return
    theirs: Any = teacher.get_submodule(layer.norm)
    bias = 0.0 if taken.bias is None else taken.bias
    # Spikes are activations / theta, so what the norm sees is smaller by theta too.
    _set_norm(
        synapse,
        (theirs.running_mean - shift - bias) / into,
        (theirs.running_var + theirs.eps) / into**2,
        theirs.weight / theta[population],
        theirs.bias / theta[population],
    )


def _set_norm(synapse: Synapse, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> None:
    norm = synapse.norm
    assert norm is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_((var - norm.eps).clamp_min(0.0))
    norm.weight.copy_(weight)
    norm.bias.copy_(bias)


def _of_integers(
    weight: Tensor, scaling: Scaling, channels: int, top: int
) -> tuple[Tensor, Tensor]:
    """Return weights for integers to ``top`` seen as 0 to 1, and what the scaling's mean adds.

    Borders are padded with the number 0 and not, as the teacher's, with the mean; that is left.
    """
    planes = weight.shape[1] // channels  # of dense weights, pixels of a channel
    factor, mean = (
        torch.as_tensor(v).to(weight).expand(channels).repeat_interleave(planes)
        for v in (
            [top / scaling.top / s for s in scaling.std],
            [m / s for m, s in zip(*np.broadcast_arrays(scaling.mean, scaling.std), strict=True)],
        )
    )
    shape = (1, -1, *[1] * (weight.ndim - 2))
    shift = -(weight * mean.reshape(shape)).flatten(1).sum(1)
    return weight * factor.reshape(shape), shift


def _copy_output(
    student: Student,
    teacher: Copied,
    layers: Layers,
    theta: Mapping[str, float],
    logits: Tensor,
) -> None:
    """Give the last dense layer the teacher's logits: as currents, or as rates of spikes."""
    (branch,) = student.wiring[-1].branches
    synapse = student.get_submodule(branch.synapse)
    assert isinstance(synapse, Synapse)
    into = theta.get(branch.sources[0], 1.0)
    if synapse.norm is None:
        synapse.weight.weight.mul_(into)
        return
    # The norm has the logits' own mean and deviation, so that measuring it again keeps them.
    top = theta[student.output]
    name = layers.synapses[branch.synapse].weight
    assert name is not None
    last: Any = teacher.get_submodule(name)
    mean, deviation = logits.mean(0), logits.std(0)
    _set_norm(
        synapse, (mean - last.bias) / into, (deviation / into) ** 2, deviation / top, mean / top
    )


def _lift(student: Student, lift: float | None) -> None:
    lifted: set[str] = set()  # what several populations read is lifted once
    with torch.no_grad():
        for population in student.wiring:
            neuron = student.populations().get(population.name)
            if neuron is None:
                continue
            more = lift_of(student, neuron.beta, neuron.reset) if lift is None else lift
            names = [b.synapse for b in population.branches]
            norms = {n: student.get_submodule(n).norm for n in names}
            first = next((n for n, norm in norms.items() if norm is not None), None)
            if first is not None and first not in lifted:
                norms[first].bias.add_(more)  # type: ignore[union-attr]
                lifted.add(first)
