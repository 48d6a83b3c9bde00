"""Random ``.net`` files, by h5py alone, as slayer's ``export_hdf5`` lays them out."""

from __future__ import annotations

import h5py
import numpy as np


def random_file(path, seed, family=None):
    """Write a random chain and return its family: lif, loop (delays, recurrence), sdnn or rf."""
    r = np.random.default_rng(seed)
    family = family or r.choice(["lif", "loop", "sdnn", "rf"])
    with h5py.File(path, "w") as file:
        steps = int(r.integers(4, 9))
        file["simulation/Ts"], file["simulation/tSample"] = 1, steps
        layers = file.create_group("layer")
        shape = (int(r.integers(1, 4)), int(r.integers(3, 7)), int(r.integers(3, 7)))
        if family == "rf" or (family != "sdnn" and r.random() < 0.3):
            shape = (int(r.integers(2, 12)),)
        image = len(shape) == 3
        driven = family == "sdnn" or (family != "rf" and r.random() < 0.5)
        if image or driven:
            group = _layer(layers, "input", shape)
            if driven:
                _neuron(r, group, family)
                if r.random() < 0.5:
                    group["weight"], group["bias"] = np.float32(r.integers(1, 64)), np.float32(3)
        for _ in range(int(r.integers(0, 3)) if image else 0):
            shape = _conv(r, _layer(layers, "conv", shape), shape, family)
        if image:
            _layer(layers, "flatten", (1, 1, int(np.prod(shape))))
        for i in range(1 if family == "rf" else int(r.integers(1, 4))):
            last = family == "sdnn" and i > 0 and r.random() < 0.5
            size = int(r.integers(2, 9))
            kind = "dense_rec" if family == "loop" and r.random() < 0.6 else "dense"
            group = _layer(layers, kind, (size,) if r.random() < 0.7 else (size, 1, 1))
            _dense(r, group, int(np.prod(shape)), size, family)
            _neuron(r, group, family, sigma=last)
            shape = (size,)
            if last:
                break
    return family


def _layer(layers, kind, shape):
    group = layers.create_group(str(len(layers)))
    group.create_dataset("type", (1,), "S10", data=[kind.encode()])
    group["shape"] = np.array(shape)
    return group


def _weights(r, shape, largest):
    """Draw integers of one or both signs: odd ones only where both signs leave room for them."""
    sign = r.choice(["mixed", "mixed", "exc", "inh"])
    if sign == "mixed":
        odd = largest <= 127 and r.random() < 0.5
        w = r.integers(-largest, largest, shape) // (1 if odd else 2) * (1 if odd else 2)
        w.flat[0], w.flat[-1] = -4, 6
    else:
        w = 2 * np.maximum(r.integers(-largest // 4, largest // 2, shape), 0)
        w.flat[0] = 2 * 27  # Lava changes matrices without positive weights for some lowest ones
        w = -w if sign == "inh" else w
    return w.astype(np.float32)


def _conv(r, group, image, family):
    channels = int(r.integers(1, 4))
    groups = image[0] if r.random() < 0.2 else 1
    channels *= groups
    kernel = [int(min(r.integers(1, 4), n)) for n in image[1:]]
    stride, padding = r.integers(1, 3, 2), r.integers(0, 2, 2)
    dilation = [
        int(r.integers(1, 3)) if 2 * (k - 1) < n else 1
        for k, n in zip(kernel, image[1:], strict=True)
    ]
    sides = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(image[1:], padding, dilation, kernel, stride, strict=True)
    ]
    shape = (channels, *(int(n) for n in sides))
    del group["shape"]
    group["shape"] = np.array(shape)
    group["weight"] = _weights(
        r, (channels, image[0] // groups, *kernel), 30 if family == "sdnn" else 100
    )
    if r.random() < 0.3:
        group["stride"] = int(stride[0]) if stride[0] == stride[1] else stride
    else:
        group["stride"] = stride
    group["padding"], group["dilation"], group["groups"] = padding, np.array(dilation), groups
    if r.random() < 0.7:
        each = shape[::-1] if r.random() < 0.3 else (channels,)
        group["bias"] = r.integers(-30, 60, each).astype(np.float32)
    _neuron(r, group, family)
    return shape


def _dense(r, group, before, size, family):
    if family == "rf":
        both = group.create_group("weight")
        both["real"], both["imag"] = (_weights(r, (size, before), 250) for _ in range(2))
        return
    w = _weights(r, (size, before), 30 if family == "sdnn" else 250)
    group["weight"] = w.ravel() if r.random() < 0.2 else w
    if "rec" in group["type"][0].decode():
        group["weight_rec"] = _weights(r, (size, size), 120)
    elif family == "loop" and r.random() < 0.7:
        kind = r.choice(["scalar", "rows", "columns", "all"])
        extent = {"scalar": (), "rows": (size,), "columns": (before,), "all": (size, before)}[kind]
        group["delay"] = r.integers(0, 4, extent).astype(np.float64)
    if r.random() < 0.6:
        group["bias"] = r.integers(-30, 90, size).astype(np.float32)


def _neuron(r, group, family, sigma=False):
    neuron = group.create_group("neuron")
    if family == "sdnn":
        neuron["type"], neuron["activation"] = "SDNN", "relu"
        neuron["vThMant"] = int(r.choice([0, 1, 10]))
        if sigma:
            neuron["sigma_output"] = True
            if "bias" in group:
                del group["bias"]
    elif family == "rf":
        neuron["type"] = str(r.choice(["RF_PHASE", "RF_IZHIKEVICH"]))
        turn, rest = r.uniform(0.2, 2.8), r.uniform(0.5, 0.99)
        neuron["cosDecay"] = int(4096 * rest * np.cos(turn))
        neuron["sinDecay"] = int(4096 * rest * np.sin(turn))
        neuron["vThMant"] = int(r.integers(5, 200))
    else:
        neuron["type"] = str(r.choice(["CUBA", "LOIHI"]))
        neuron["iDecay"] = int(r.choice([0, 410, 2048, 4096]))
        neuron["vDecay"] = int(r.choice([0, 128, 1024, 4096]))
        neuron["vThMant"] = int(r.choice([25, 64, 200, 131072]))
        neuron["refDelay"], neuron["gradedSpike"] = 1, False
