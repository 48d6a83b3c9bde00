# pyright: basic
"""From a trained student to a ``Network``: numpy, batch norm folded. PyTorch ends here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snn2hw.errors import UnsupportedError
from snn2hw.ir import nodes as ir
from snn2hw.ir.arrays import Edge, Shape
from snn2hw.ir.network import Network
from snn2hw.ir.synapses import Conv
from snn2hw.passes import fold_batch_norm
from snn2hw.train.students import SOURCE, Diagonal, Readout, Spiking, Student, Synapse

OUTPUT = "output"
DT = 1e-3  # seconds; NIR is in continuous time, so a step needs a length


def to_network(student: Spiking, dt: float | None = None) -> Network:
    """Export a student in evaluation mode.

    Batch norm is folded in float64, and the scale of the input into the first layer, so that
    the network takes the raw integers. One forward-Euler step of ``dt`` seconds is one step of
    the student: ``tau = dt / (1 - beta)`` and ``r = tau / dt`` make its gain 1.

    Args:
        student: populations keep their module names.
        dt: length of a time step in seconds; None is what its kind takes, 1e-3 for ours.

    Raises:
        UnsupportedError: a current never decays, or a module is of a kind that has no export.
    """
    if not isinstance(student, Student):
        return student.to_network(dt)
    dt = dt or DT
    channels, height, width = student.shape
    shapes: dict[str, Shape] = {SOURCE: (channels, height, width)}
    nodes: dict[str, ir.Node] = {SOURCE: ir.Input(shapes[SOURCE], student.max_value)}
    edges: list[Edge] = []
    for name, branches in student.wiring:
        for sources, synapse in branches:
            before, chain = sources, _chain(student, synapse, sources, shapes)
            for key, node in chain:
                nodes[key] = node
                edges += [(source, key) for source in before]
                before = (key,)
            edges += [(key, name) for key in before]
            shapes[name] = ir.output_shape(chain[-1][1])
        nodes[name] = cell_node(student.get_submodule(name), shapes[name], dt)
    last = student.wiring[-1].name
    nodes[OUTPUT] = ir.Output(shapes[last])
    edges.append((last, OUTPUT))
    return Network(nodes, tuple(edges), dt, student.time_steps, student.rules.of_network)


def _chain(
    student: Student, synapse: str, sources: tuple[str, ...], shapes: Mapping[str, Shape]
) -> list[tuple[str, ir.Node]]:
    scale = 1.0 / student.max_value if SOURCE in sources else 1.0
    return linear_nodes(synapse, student.get_submodule(synapse), shapes[sources[0]], scale)


def linear_nodes(name: str, module: Any, shape: Shape, scale: float) -> list[tuple[str, ir.Node]]:
    """Return the chain of nodes that a synapse becomes: pool, flatten, weights."""
    if not isinstance(module, Synapse):
        raise UnsupportedError(f"{name} is a {type(module).__name__}, which has no export.")
    chain: list[tuple[str, ir.Node]] = []
    if module.pool > 1:
        side = (module.pool, module.pool)
        pool = ir.Pool2d(image(shape), side, side, (0, 0), average=True)
        shape = ir.output_shape(pool)
        chain.append((f"{name}.pool", pool))
    weight, bias = folded(module)
    weight = weight * scale
    if isinstance(module.weight, nn.Conv2d):
        layer = module.weight
        kernel = Conv(
            weight,
            image(shape),
            pair(layer.stride),
            pair(layer.padding),
            pair(layer.dilation),
            layer.groups,
        )
        return [*chain, (name, ir.Conv2d(kernel, bias))]
    if isinstance(module.weight, Diagonal):
        channels, height, width = (*shape, 1, 1)[:3]
        kernel = Conv(weight[:, None, None, None], (channels, height, width), groups=channels)
        node = ir.Conv2d(kernel, bias) if len(shape) == 3 else ir.Affine(np.diag(weight), bias)
        return [*chain, (name, node)]
    if len(shape) > 1:
        chain.append((f"{name}.flatten", ir.Flatten(shape)))
    return [*chain, (name, ir.Affine(weight, bias))]


def folded(synapse: Synapse) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight and bias with the batch norm in them, in float64; zeros stay zeros."""
    layer, norm = synapse.weight, synapse.norm
    weight = array(layer.weight)
    given = None if isinstance(layer, Diagonal) else layer.bias
    bias = np.zeros(len(weight)) if given is None else array(given)
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma, beta = array(norm.weight), array(norm.bias)
    mean, variance = array(norm.running_mean), array(norm.running_var)
    return fold_batch_norm(weight, bias, gamma, beta, mean, variance, norm.eps)


def cell_node(module: Any, shape: Shape, dt: float) -> ir.Lif | ir.Leaky:
    """Return what a ``Lif`` or a ``Readout`` of this shape becomes.

    One step of ``ir.discrete.coefficients`` is then one of the module: ``r`` and ``w_in`` undo the
    factors that Euler's step gives to what comes in.

    Raises:
        UnsupportedError: the current never decays, or a membrane with a bias does not.
    """
    none = np.array(0.0)
    if isinstance(module, Readout):
        # With tau = dt nothing is left of the membrane of the step before.
        return ir.Leaky(shape, np.array(dt), np.array(1.0), none)
    # tau = inf is integrate-and-fire, whose r is per second.
    beta, alpha = module.beta, module.alpha
    if alpha == 1.0:
        raise UnsupportedError("A current that never decays has no form in NIR.", "Take alpha < 1.")
    tau = math.inf if beta == 1.0 else dt / (1.0 - beta)
    r = 1.0 / dt if math.isinf(tau) else tau / dt
    rest = none
    if module.bias is not None:
        if math.isinf(tau):
            raise UnsupportedError("A membrane with a bias and no leak has no form in NIR.")
        bias = array(module.bias) / (1.0 - beta)
        rest = np.broadcast_to(bias.reshape(-1, *[1] * (len(shape) - 1)), shape)
    return ir.Lif(
        shape=shape,
        tau=np.array(tau),
        r=np.array(r),
        v_threshold=np.array(module.threshold),
        v_leak=rest,
        v_reset=none,
        reset=module.reset,
        tau_synapse=np.array(dt / (1.0 - alpha)) if alpha else None,
        w_in=np.array(1.0 / (1.0 - alpha)) if alpha else None,
    )


def array(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Return a tensor's values in float64."""
    return tensor.detach().cpu().double().numpy()


def image(shape: Shape) -> tuple[int, int, int]:
    """Return a shape ``(C, H, W)``; ValueError if it is none."""
    channels, height, width = shape
    return channels, height, width


def pair(value: Any) -> tuple[int, int]:
    """Return a module's two numbers as integers."""
    return (int(value[0]), int(value[1]))
