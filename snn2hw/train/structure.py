# pyright: basic
"""What may change a network's connections while it is trained: pruning, growing, masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from snn2hw.errors import InputError
from snn2hw.train.neurons import Lif


class Structure:
    """Told by the training loop where it is; this one changes nothing.

    In an epoch the loop calls ``before_epoch``, then for each step ``penalty`` (with the loss),
    ``after_backward`` (gradients are there) and ``after_step`` (weights have moved). What does not
    follow from weights, epoch and step belongs in ``state``: a run that is resumed ends with the
    same weights, bit for bit.
    """

    def before_epoch(self, epoch: int) -> None:
        """Prepare epoch ``epoch``, counted from 0."""

    def penalty(self) -> Tensor | None:
        """Return what is added to the loss of this step, if anything."""
        return None

    def after_backward(self, step: int, steps: int) -> None:
        """Look at, or change, the gradients of step ``step`` of ``steps`` in the whole job."""

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Put right what the optimizer moved; its state is there to be cleared."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` returned."""

    def finish(self) -> None:
        """Leave a plain network behind, its pruned weights exactly zero; training is over."""


class Several(Structure):
    """Several structures, told one after another."""

    def __init__(self, parts: Sequence[Structure]) -> None:
        self.parts = list(parts)

    def before_epoch(self, epoch: int) -> None:
        """Tell each."""
        for part in self.parts:
            part.before_epoch(epoch)

    def penalty(self) -> Tensor | None:
        """Sum what each adds."""
        found = [p for part in self.parts if (p := part.penalty()) is not None]
        return torch.stack(found).sum() if found else None

    def after_backward(self, step: int, steps: int) -> None:
        """Tell each."""
        for part in self.parts:
            part.after_backward(step, steps)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Tell each."""
        for part in self.parts:
            part.after_step(optimizer)

    def state(self) -> dict[str, Tensor]:
        """Return everyone's, by number."""
        return {f"{at}.{k}": v for at, p in enumerate(self.parts) for k, v in p.state().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Give each its own."""
        for at, part in enumerate(self.parts):
            mine = {k: v for k, v in tensors.items() if k.startswith(f"{at}.")}
            part.restore({k.removeprefix(f"{at}."): v for k, v in mine.items()})

    def finish(self) -> None:
        """Tell each."""
        for part in self.parts:
            part.finish()


# Share of the epochs after which every layer spikes.
ALL_SPIKE_AFTER = 0.6


class Stagewise(Structure):
    """Makes populations spike one after another, first to last; until then they give mean rates.

    The later layers learn with what the earlier ones really send (progressive tandem learning,
    Wu et al., arXiv:2007.01204; the paper's schedule waits for each stage to settle, this one is
    even).

    Args:
        network: what is trained; its ``Lif`` populations in the order of its modules.
        epochs: of the training.

    Raises:
        InputError: the network has no such populations.
    """

    def __init__(self, network: nn.Module, epochs: int) -> None:
        self.neurons = [m for m in network.modules() if isinstance(m, Lif)]
        if not self.neurons:
            raise InputError(
                f"A {type(network).__name__} has no neurons that can be made spiking one by one.",
                "Leave out method tandem, or use a student that comes with snn2hw.",
            )
        if any(n.most > 1 or n.bias is not None for n in self.neurons):
            raise InputError(
                "Method tandem does not train neurons that send several spikes a step, or whose "
                "bias acts on the membrane.",
                "Leave out method tandem.",
            )
        self.ramp = max(1.0, ALL_SPIKE_AFTER * epochs)

    def before_epoch(self, epoch: int) -> None:
        """Choose who spikes in this epoch."""
        spiking = len(self.neurons) * min(1.0, (epoch + 1) / self.ramp)
        for at, neuron in enumerate(self.neurons):
            neuron.analog = at >= spiking

    def finish(self) -> None:
        """Let everyone spike."""
        for neuron in self.neurons:
            neuron.analog = False
