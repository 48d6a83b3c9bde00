"""Runs ``spec.json`` files in Rockpool's XyloSim. Executed by an environment with Rockpool.

    python rockpool_runner.py FOLDER

For each folder inside with ``chip.txt`` (Rockpool's name of it), ``spec.json`` and ``x.npy``
(``[N, S, inputs]``), writes ``out.npz``: what XyloSim recorded, each ``[N, S, neurons]``, the
weights of the configuration that Rockpool would send to a board (``config.*``), what its
quantizers make of the specification (``global.*``, ``channel.*``), and which arguments
``from_specification`` has (``arguments``).
"""

import importlib
import importlib.machinery
import inspect
import json
import sys
import warnings
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np


class Samna:
    """Finds modules that hold nothing: SynSense's driver of boards, which Rockpool imports."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        ours = name.partition(".")[0] == "samna"
        return importlib.machinery.ModuleSpec(name, Samna, is_package=True) if ours else None

    @staticmethod
    def create_module(spec):
        return MagicMock(__path__=[], validate_configuration=lambda config: (True, ""))

    @staticmethod
    def exec_module(module):
        pass


sys.meta_path.insert(0, Samna)
from rockpool.transform.quantize_methods import channel_quantize, global_quantize  # noqa: E402


def recorded(chip, spec, x):
    """Return what the neurons did in each sample, from fresh state."""
    rows = {}
    module = chip.XyloSim.from_specification(**spec)
    for sample in x:
        module.reset_state()
        out, _, record = module.evolve(sample, record=True)
        for k, v in {**record, "Spikes_out": out}.items():
            rows.setdefault(k, []).append(v)
    return {k: np.array(v) for k, v in rows.items()}


def configured(chip, spec):
    """Return the weights of a board's configuration; anything odd is a warning, and an error."""
    board = importlib.import_module(f"{chip.__name__}.xylo_samna")
    config, valid, _ = board.config_from_specification(**spec, bias_hidden=spec["bias"])
    hidden = config.reservoir if chip.__name__.endswith("syns61201") else config.hidden
    parts = {"in": config.input, "rec": hidden, "out": config.readout}
    assert valid
    found = {f"config.{k}": part.weights for k, part in parts.items()}
    if spec["weights_in"].shape[2] > 1:
        found |= {f"config.{k}2": parts[k].syn2_weights for k in ("in", "rec")}
    return found


def quantized(spec):
    """Return what Rockpool's quantizers, which check shapes, give back."""
    copy = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in spec.items()}
    found = {f"global.{k}": v for k, v in global_quantize(**copy).items()}
    return found | {f"channel.{k}": v for k, v in channel_quantize(**copy).items()}


def main(folder):
    for here in sorted(p.parent for p in folder.glob("*/spec.json")):
        chip = importlib.import_module(f"rockpool.devices.xylo.{(here / 'chip.txt').read_text()}")
        told = json.loads((here / "spec.json").read_text())
        spec = {
            k: np.array(v) if isinstance(v, list) and k != "aliases" else v for k, v in told.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = {**recorded(chip, spec, np.load(here / "x.npy")), **configured(chip, spec)}
            found["arguments"] = list(inspect.signature(chip.XyloSim.from_specification).parameters)
            np.savez(here / "out.npz", **found, **quantized(spec))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
