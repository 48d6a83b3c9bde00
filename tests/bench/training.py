"""One training step with our neurons, as a ratio of the same step in plain PyTorch.

The nets, the plain versions and the clock are those of ``bench/train_peers.py`` in the folder of
shared measurements (``--peers``): each net is run in turn with the others in one process, a ratio
is the median over rounds of the two times of one round. Our way is that of our training loop: the
neuron function, channels last, and a fused optimizer; ``neuron only`` swaps the neuron alone.

  python tests/bench/training.py --threads 1
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch

from snn2hw.train.neurons import lif

SHARED = Path(__file__).parents[2].parent / "shared" / "bench"


def main() -> None:
    """Print a row for each net and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=SHARED, help="folder with peers_common.py")
    parser.add_argument("--cases", nargs="+", default=["conv:4:32", "conv:16:32", "mlp:25:128"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.peers))
    import peers_common as peers

    torch.set_num_threads(asked.threads)
    print(f"{'net':>12} {'way':>12} {'ms a step':>10} {'wall ratio':>11} {'CPU ratio':>10}")
    for case in asked.cases:
        net, steps, batch = case.split(":")
        x, y = peers.make_input(net, int(steps), int(batch))
        ways = {
            "torch_flat": peers.lif_loop,
            "torch_fused": peers.FusedLIF.apply,
            "neuron only": partial(_ours, peers),
            "snn2hw": partial(_ours, peers),
        }
        runs = {n: _step(peers, net, way, x, y, n == "snn2hw") for n, way in ways.items()}
        losses = {name: float(run()) for name, run in runs.items()}
        if (
            max(losses.values()) - min(losses.values()) > 1e-2
        ):  # a sum in another order moves a few spikes
            raise SystemExit(f"the ways differ: {losses}")
        times = peers.interleave(runs, asked.rounds, 2)
        for name, row in peers.summary(times, "torch_flat", int(batch)).items():
            print(
                f"{case:>12} {name:>12} {1000 * row['wall_s']:>10.1f} {row['wall_ratio']:>11.3f} "
                f"{row['cpu_ratio']:>10.3f}"
            )


def _ours(peers, current):  # type: ignore[no-untyped-def]
    return lif(current, peers.DECAY, peers.THRESHOLD, "subtract", surrogate="atan")


def _step(peers, net, way, x, y, ours):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = peers.TorchFlat(net, {"conv": 256, "mlp": 512}[net], way)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() >= 2:
                p.mul_(peers.GAIN[net])
    if ours:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=ours or None)

    def step():  # type: ignore[no-untyped-def]
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    main()
