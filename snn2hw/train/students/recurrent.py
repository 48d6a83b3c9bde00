# pyright: basic
"""Students with memory in their connections, for event data."""

from __future__ import annotations

from torch import nn

from snn2hw.train.students.wiring import SOURCE, Plan, Settings, Student, Synapse, dense


def rnn(settings: Settings, hidden: int) -> Student:
    """Build one population that is connected to itself, and a dense layer.

    Its spikes come back in the next step, as in the recurrent layers of snnTorch and Norse.
    """
    channels, height, width = settings.shape
    size = settings.wide(hidden)
    plan = Plan(settings)
    back = nn.Linear(size, size, bias=False)
    # Small beside the input's: a population that excites itself never rests.
    nn.init.orthogonal_(back.weight, gain=0.5)
    first = plan.neurons(
        "lif1",
        plan.synapse("fc1", SOURCE, dense(channels * height * width, size)),
        plan.synapse("back1", "lif1", Synapse(back, None)),
    )
    return plan.finish("fc2", "lif2", first, size, (first,))
