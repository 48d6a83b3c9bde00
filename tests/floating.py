"""A float network step by step without any chip: what the student itself computes."""

from __future__ import annotations

import numpy as np

from snn2hw.ir.arrays import size_of
from snn2hw.ir.graph import incoming, topological
from snn2hw.ir.network import Network, coefficients
from snn2hw.ir.synapses import matrix


def run(net: Network, inputs):
    """Return spikes ``[N, T, size]`` of every population, all layers within one step."""
    samples, steps = next(iter(inputs.values())).shape[:2]
    sent = {k: x.reshape(samples, steps, -1).astype(float) for k, x in inputs.items()}
    for name in topological(net):
        neuron, into = net.neurons()[name], incoming(net, name)
        c = coefficients(neuron, net.dt)
        drive = np.zeros((samples, steps, size_of(neuron.shape))) + into.bias
        for pre, synapses in into.sources:
            drive += (matrix(synapses) @ sent[pre].reshape(samples * steps, -1).T).T.reshape(
                drive.shape
            )
        v = np.zeros((samples, drive.shape[2]))
        spikes = np.zeros_like(drive)
        for t in range(steps):
            v = c.keep_voltage * v + c.gain_voltage * drive[:, t] + c.drift
            spikes[:, t] = v > neuron.v_threshold
            v = np.where(spikes[:, t] > 0, neuron.v_reset, v)
        sent[name] = spikes
    return sent
