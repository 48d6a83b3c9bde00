"""What a bill would be with fewer steps, fewer weights, other activity or more chips.

Nothing is trained. What can be computed is: other steps are simulated, and what changes a core's
memory is placed again. What is left is an assumption, and each is said in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import families
from snn2hw import target as targets
from snn2hw.errors import InputError, listed, unknown_name
from snn2hw.estimator import STATIC, EnergyReport
from snn2hw.fields import Check, real, whole
from snn2hw.ir import counts as counted
from snn2hw.ir import trace as traced
from snn2hw.ir.counts import Counts, range_of
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Sparse, Synapses, from_matrix, matrix, nonzeros, sizes, with_weight
from snn2hw.ir.trace import LayerTrace, Trace
from snn2hw.pipeline import counting
from snn2hw.pipeline.port import Ints
from snn2hw.simulate.inputs import check_inputs

MOST_STEPS = 8192
KNOWN: Mapping[str, Check] = {
    "steps": whole(1, MOST_STEPS),
    "sparsity": real(0, 0.999),
    "activity": real(0, 1000),
    "chips": whole(1, 1 << 20),
}
EXAMPLES = "steps=8, sparsity=0.9, activity=0.5, chips=8"


@dataclass(frozen=True, slots=True, repr=False)
class Extrapolation(EnergyReport):
    """A bill of what was not built: no result.

    Args:
        changes: what is different, by the names of ``KNOWN``.
        assumptions: a sentence for each change.
        built: the bill of what was built.
    """

    changes: Mapping[str, float] = field(kw_only=True)
    assumptions: tuple[str, ...] = field(kw_only=True)
    built: EnergyReport = field(kw_only=True)

    def __repr__(self) -> str:
        """Say that it is an extrapolation, from what, and what it comes to."""
        said = ", ".join(f"{k}={v:g}" for k, v in self.changes.items())
        lines = [f"extrapolation, not a result: {said}", *(f"  {a}" for a in self.assumptions)]
        return "\n".join([*lines, EnergyReport.__repr__(self)])

    def json(self) -> dict[str, Any]:
        """Return the bill's document, marked as an extrapolation."""
        marked = {
            "extrapolation": True, "changes": dict(self.changes),
            "assumptions": list(self.assumptions),
        }  # fmt: skip
        return marked | EnergyReport.json(self)


def read(texts: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=VALUE``.

    Raises:
        InputError: a value is no number; or as ``checked`` says.
    """
    found: dict[str, Any] = {}
    for told in texts:
        name, _, value = told.partition("=")
        try:
            found[name] = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise InputError(f"{told!r} is no change.", f"Write {EXAMPLES}.") from None
    return checked(found)


def checked(changes: Mapping[str, Any]) -> dict[str, float]:
    """Return changes whose names and values are right.

    Raises:
        InputError: names every one that is not.
    """
    for name in changes:
        if name not in KNOWN:
            raise unknown_name("change", name, sorted(KNOWN))
    wrong = [f"{k}{said}" for k, v in changes.items() for said in KNOWN[k](v)]
    if wrong or not changes:
        told = listed(wrong, "; ") or "nothing to change was named"
        raise InputError(f"what_if: {told}.", f"Write {EXAMPLES}.")
    return dict(changes)


def at_steps(program: Program, changes: Mapping[str, float]) -> Program:
    """Return the program whose samples last as many steps as the changes say."""
    if "steps" not in changes:
        return program
    network = replace(program.network, time_steps=int(changes["steps"]))
    return replace(program, network=network)


def cut(inputs: Mapping[str, Ints], steps: int) -> dict[str, Ints]:
    """Return the first steps of samples ``[N, T, *shape]``.

    Raises:
        InputError: they have fewer.
    """
    short = {k: x.shape[1] for k, x in inputs.items() if x.shape[1] < steps}
    if short:
        told = listed(f"{k} has {n:,}" for k, n in short.items())
        raise InputError(
            f"what_if: steps={steps:,} is more than the samples have ({told}).",
            "Give samples of as many steps.",
        )
    return {k: x[:, :steps] for k, x in inputs.items()}


def extrapolated(
    program: Program,
    inputs: Mapping[str, Ints],
    changes: Mapping[str, float],
    built: EnergyReport,
    right: Callable[[Trace], float | None],
    *,
    memory: int = 1 << 28,
) -> Extrapolation:
    """Price what a changed network would do.

    Args:
        program: what was built, with the steps of the changes.
        inputs: what it is given, of as many steps.
        changes: as ``checked`` returns them.
        built: the bill of what was built.
        right: returns the accuracy of a trace.
        memory: bytes that what is kept of some samples may take.

    Raises:
        UnsupportedError, DoesNotFitError: the changed network cannot be placed.
        InputError: the target has no such number of chips.
    """
    sentences: list[str] = []
    changed = program
    if "chips" in changes:
        allowed = targets.with_chips(program.target, int(changes["chips"]))
        changed = replace(changed, target=allowed)
    if "sparsity" in changes:
        network, said = _sparser(program.network, changes["sparsity"])
        changed = replace(changed, network=network)
        sentences.append(said)
    if changed is not program:
        place = families.of(program.target).place
        changed = replace(changed, placement=place(changed.network, changed.target))
    activity = changes.get("activity", 1.0)
    trace, counts = _counted(program, changed, inputs, activity, memory)
    if "steps" in changes:
        sentences.append(_steps(built, trace))
    if "activity" in changes:
        sentences.append(
            f"activity: every neuron spikes {activity:g} times as often, at the same steps as now; "
            "input values and updates of neurons stay as they are"
        )
    bill = counting.report(changed, _scaled(trace, program, activity), counts, changed.target)
    if "chips" in changes:
        bill, said = _all_on(bill, int(changes["chips"]), built, program)
        sentences.append(said)
    same = not {"sparsity", "activity"} & set(changes)
    known = {f.name: getattr(bill, f.name) for f in fields(EnergyReport)}
    known |= {
        "data": built.data, "output": built.output, "accuracy": right(trace) if same else None,
    }  # fmt: skip
    return Extrapolation(**known, changes=changes, assumptions=tuple(sentences), built=built)


def _counted(
    program: Program,
    changed: Program,
    inputs: Mapping[str, Ints],
    activity: float,
    memory: int,
) -> tuple[Trace, Counts]:
    """Run a program, and count what its spikes make a changed one do.

    Events follow from inputs or from spikes: those that are left without spikes are the inputs',
    and of the others there are ``activity`` times as many.
    """
    family, net = families.of(program.target), program.network
    samples, steps = check_inputs(program, inputs)
    states = family.counts_states(program.target)
    values = (3 if states else 1) * steps * sum(p.size for p in (*net.inputs, *net.populations))
    batch = max(1, memory // (4 * values))
    traces: list[Trace] = []
    counts: list[Counts] = []
    for start in range(0, samples, batch):
        some = {k: x[start : start + batch] for k, x in inputs.items()}
        trace = family.run(program, some, spikes=True, states=states)
        full = family.count(changed, some, trace)
        if activity != 1.0:
            quiet = family.count(changed, some, _quiet(trace))
            work = {k: quiet.work[k] + activity * (n - quiet.work[k]) for k, n in full.work.items()}
            full = replace(full, work=work)
        counts.append(full)
        traces.append(replace(trace, layers={}))
    return traced.join(traces, sum(t.seconds for t in traces)), counted.join(counts)


def _quiet(trace: Trace) -> Trace:
    """Return a trace without spikes, but with its states."""
    layers = {
        k: LayerTrace(np.zeros_like(layer.spikes), layer.states)
        for k, layer in trace.layers.items()
    }
    return replace(trace, layers=layers)


def _scaled(trace: Trace, program: Program, activity: float) -> Trace:
    """Return a trace with other numbers of spikes."""
    own = {p.name for p in program.network.populations}
    events: dict[str, NDArray[Any]] = {
        k: activity * e if k in own else e for k, e in trace.events.items()
    }
    return replace(trace, events=events)


def _sparser(net: IntNetwork, sparsity: float) -> tuple[IntNetwork, str]:
    """Set the smallest weights of each connection to zero, so that this share of them is."""
    connections = [replace(c, synapses=_pruned(c.synapses, sparsity)) for c in net.connections]
    before, after = (_share_of_zeros(some) for some in (net.connections, connections))
    said = (
        f"sparsity: the smallest weights of each connection are zero, {after:.1%} of all instead "
        f"of {before:.1%}, stored and placed anew; neurons are taken to spike as they do now, "
        "which only training can show, so there is no accuracy"
    )
    return replace(net, connections=tuple(connections)), said


def _share_of_zeros(connections: Sequence[Connection]) -> float:
    """Return it of all weights, but for those from neuron to neuron if there are others."""
    some = [c.synapses for c in connections]
    some = [s for s in some if not isinstance(s, Sparse)] or some
    return 1 - sum(map(nonzeros, some)) / sum(map(_places, some))


def _places(synapses: Synapses) -> int:
    """Return how many weights there would be without zeros; those of a kernel count once."""
    return math.prod(sizes(synapses)) if isinstance(synapses, Sparse) else synapses.weight.size


def _pruned(synapses: Synapses, sparsity: float) -> Synapses:
    weight = synapses.weight.reshape(-1).copy()
    left = round((1 - sparsity) * _places(synapses))
    order = np.argsort(np.abs(weight.astype(np.int64)), kind="stable")
    weight[order[: max(0, weight.size - left)]] = 0
    found = with_weight(synapses, weight.reshape(synapses.weight.shape))
    return from_matrix(matrix(found)) if isinstance(found, Sparse) else found


def _steps(built: EnergyReport, trace: Trace) -> str:
    return (
        f"steps: simulated with {trace.steps} instead of {built.time_steps}, on the same weights; "
        "accuracy and counts are computed, and training for as many steps would change both"
    )


def _all_on(
    bill: EnergyReport, chips: int, built: EnergyReport, program: Program
) -> tuple[EnergyReport, str]:
    """Charge the static power of chips that are on with nothing to do."""
    power = range_of(program.target.prices[STATIC]).times(chips)
    said = (
        f"chips: placed anew on at most {chips} chips, of which it takes {bill.chips} "
        f"({built.chips} as built); the others are on, and draw the same static power"
    )
    on = replace(
        bill,
        static_uj=power * bill.period_us,
        static_io_uj=power * (bill.period_us + bill.io_us),
    )
    return on, said
