# pyright: basic
"""From a trained student to a ``Network``: numpy, batch norm folded. PyTorch ends here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snn2hw.errors import UnsupportedError
from snn2hw.ir import network as ir
from snn2hw.ir.arrays import Edge, Shape
from snn2hw.ir.synapses import Conv
from snn2hw.passes import fold_batch_norm
from snn2hw.train.neurons import Lif
from snn2hw.train.students import SOURCE, Student, Synapse

OUTPUT = "output"
DT = 1e-3  # seconds; NIR is in continuous time, so a step needs a length


def to_network(student: Student, dt: float = DT) -> ir.Network:
    """Export a student in evaluation mode.

    Batch norm is folded in float64, and the scale of the input into the first layer, so that
    the network takes the raw integers. One forward-Euler step of ``dt`` seconds is one step of
    the student: ``tau = dt / (1 - beta)`` and ``r = tau / dt`` make its gain 1.

    Args:
        student: any ``Student``; populations keep their module names.
        dt: length of a time step in seconds.

    Raises:
        UnsupportedError: the student's first population is not fed by synapses.
    """
    channels, height, width = student.shape
    shapes: dict[str, Shape] = {SOURCE: (channels, height, width)}
    nodes: dict[str, ir.Node] = {SOURCE: ir.Input(shapes[SOURCE], student.max_value)}
    edges: list[Edge] = []
    neurons = student.populations()
    for name, branches in student.wiring:
        for source, synapse in branches:
            if synapse is None and source == SOURCE:
                raise UnsupportedError(f"{name} takes the input without a weight.")
            before = source
            if synapse is not None:
                module = student.get_submodule(synapse)
                scale = 1.0 / student.max_value if source == SOURCE else 1.0
                for key, node in linear_nodes(synapse, module, shapes[source], scale):
                    nodes[key] = node
                    edges.append((before, key))
                    before = key
            edges.append((before, name))
            shapes[name] = ir.output_shape(nodes[before])
        nodes[name] = neuron_node(neurons[name], shapes[name], dt)
    last = student.wiring[-1].name
    nodes[OUTPUT] = ir.Output(shapes[last])
    edges.append((last, OUTPUT))
    return ir.Network(nodes, tuple(edges), dt, student.time_steps)


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
    if len(shape) > 1:
        chain.append((f"{name}.flatten", ir.Flatten(shape)))
    return [*chain, (name, ir.Affine(weight, bias))]


def folded(synapse: Synapse) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight and bias with the batch norm in them, in float64; zeros stay zeros."""
    layer, norm = synapse.weight, synapse.norm
    weight = array(layer.weight)
    bias = np.zeros(len(weight)) if layer.bias is None else array(layer.bias)
    if norm is None:
        return weight, bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gamma, beta = array(norm.weight), array(norm.bias)
    mean, variance = array(norm.running_mean), array(norm.running_var)
    return fold_batch_norm(weight, bias, gamma, beta, mean, variance, norm.eps)


def neuron_node(neuron: Lif, shape: Shape, dt: float) -> ir.Lif:
    """Return the population that a ``Lif`` of this shape becomes."""
    # tau = inf is integrate-and-fire, whose r is per second.
    tau = math.inf if neuron.beta == 1.0 else dt / (1.0 - neuron.beta)
    r = 1.0 / dt if math.isinf(tau) else tau / dt
    return ir.Lif(
        shape=shape,
        tau=np.array(tau),
        r=np.array(r),
        v_threshold=np.array(neuron.threshold),
        v_leak=np.array(0.0),
        v_reset=np.array(0.0),
        reset=neuron.reset,  # type: ignore[arg-type]
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
