"""What a bill would be with fewer steps, fewer weights, other activity or more chips.

Nothing is trained. What can be computed is: other steps are simulated, and what changes a core's
memory is placed again. What is left is an assumption, and each is said in a sentence.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn2hw import errors, families
from snn2hw import target as targets
from snn2hw.errors import DoesNotFitError, InputError, listed
from snn2hw.estimator import STATIC, EnergyReport
from snn2hw.fields import Check, real, shown, whole
from snn2hw.ir import counts as counted
from snn2hw.ir import trace as traced
from snn2hw.ir.counts import Counts, range_of
from snn2hw.ir.integer import Connection, IntNetwork
from snn2hw.ir.program import Program
from snn2hw.ir.synapses import Sparse, Synapses, from_matrix, matrix, nonzeros, with_weight
from snn2hw.ir.trace import LayerTrace, Trace
from snn2hw.pipeline import counting
from snn2hw.pipeline.neurobench import most_spikes
from snn2hw.pipeline.port import Ints
from snn2hw.report.text import wrapped
from snn2hw.simulate.inputs import check_inputs

MOST_STEPS = 8192
SPARSEST = 0.999
SAME = 0.0005  # shares that are no further apart are told alike, as tenths of a percent
KNOWN: Mapping[str, Check] = {
    "steps": whole(1, MOST_STEPS),
    "sparsity": real(0, SPARSEST),
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
        lines += EnergyReport.__repr__(self).splitlines()
        return "\n".join(part for line in lines for part in wrapped(line, "    "))

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
        InputError: a value is no number, or a name is there twice; or as ``checked`` says.
    """
    found: dict[str, Any] = {}
    names = [told.partition("=")[0] for told in texts]
    twice = [t for t, name in zip(texts, names, strict=True) if names.count(name) > 1]
    if twice:
        raise InputError(f"what_if: one change was given twice: {listed(twice)}.", "Give it once.")
    for told in texts:
        name, _, value = told.partition("=")
        try:
            found[name] = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise InputError(f"{told!r} is no change.", f"Write {EXAMPLES}.") from None
    return checked(found)


def checked(changes: Any) -> dict[str, float]:
    """Return changes whose names and values are right, as Python's own numbers.

    Args:
        changes: a mapping from names to numbers, NumPy's too.

    Raises:
        InputError: it is none, or names every change that is not right.
    """
    if not isinstance(changes, Mapping):
        raise InputError(
            f"what_if is {shown(changes)}, not a mapping from names to numbers.",
            'Give what_if={"steps": 8}, for example.',
        )
    given: Mapping[Any, Any] = changes
    found = {k: _plain(v) for k, v in given.items()}
    wrong = [f"there is no change {shown(k)}" for k in found if k not in KNOWN]
    wrong += [f"{k}{said}" for k, v in found.items() if k in KNOWN for said in KNOWN[k](v)]
    if wrong or not found:
        told = listed(wrong, "; ") or "nothing to change was named"
        raise InputError(f"what_if: {told}.", f"Write {EXAMPLES}.")
    return found


def _plain(value: Any) -> Any:
    """Return Python's own number for one of NumPy's; anything else as it is."""
    if isinstance(value, bool | np.bool_):
        return value
    try:
        return operator.index(value)
    except TypeError:
        return float(value) if isinstance(value, numbers.Real) else value


def check_build(program: Program, changes: Mapping[str, float]) -> None:
    """Refuse changes that a build cannot have, before anything runs.

    Raises:
        InputError: names them: fewer zeros than there are, or more chips than the largest board.
    """
    wrong: list[InputError] = []
    if "chips" in changes:
        try:
            targets.with_chips(program.target, int(changes["chips"]), option="chips=")
        except InputError as error:
            wrong.append(error)
    if "sparsity" in changes:
        now = share_of_zeros(program.network)
        if changes["sparsity"] < now - SAME:
            least = f"Write sparsity={now:.3f} or more. " if now - SAME <= SPARSEST else ""
            wrong.append(
                InputError(
                    f"sparsity={changes['sparsity']:g} is less than the build has: {now:.1%} of "
                    "its weights are zero.",
                    f"{least}For fewer zeros train a denser student, or export the run that was "
                    "not pruned.",
                )
            )
    if wrong:
        told = listed((e.message for e in wrong), " ")
        raise InputError(f"what_if: {told}", listed((e.hint for e in wrong), " "))


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
        InputError: as ``check_build`` says, or neurons cannot send so many spikes.
    """
    check_build(program, changes)
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
        changed = _placed(changed, built)
    activity = changes.get("activity", 1.0)
    trace, counts = _counted(program, changed, inputs, activity, memory)
    _check_activity(program, trace, activity)
    if "steps" in changes:
        sentences.append(_steps(built, trace))
    if "activity" in changes:
        sentences.append(
            f"activity: {activity:g} times as many spikes, spread over neurons and steps as now; "
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


def _placed(program: Program, built: EnergyReport) -> Program:
    """Place a program anew; where it does not fit, the way out is another change."""
    try:
        placement = families.of(program.target).place(program.network, program.target)
    except DoesNotFitError as error:
        takes = errors.counted(built.chips, "chip")
        raise DoesNotFitError(
            f"what_if: {error.message}",
            f"Write chips=N with a larger N; the network as built takes {takes}.",
            error.reasons,
        ) from error
    return replace(program, placement=placement)


def _check_activity(program: Program, trace: Trace, activity: float) -> None:
    """Refuse more spikes than all neurons have if each sends its most in every step."""
    most, own = most_spikes(program), program.network.populations
    room = trace.steps * sum(most[p.name] * p.size for p in own)
    sent = sum(float(trace.events[p.name].sum()) for p in own) / trace.samples
    if activity <= 1 or activity * sent <= room:
        return
    unit = 10.0 ** (math.floor(math.log10(room / sent)) - 3)  # four digits, rounded down
    largest = math.floor(room / sent / unit) * unit
    steps = errors.counted(trace.steps, "step")
    raise InputError(
        f"what_if: activity={activity:g} would be {activity * sent:,.1f} spikes an inference "
        f"({sent:,.1f} now); all neurons together can send at most {room:,} in {steps}.",
        f"Write activity={largest:.4g} or less.",
    )


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
    """Set the smallest weights to zero, so that this share of all weights is.

    Every connection keeps the same share of its weights that are not zero.
    """
    now = share_of_zeros(net)
    if abs(sparsity - now) <= SAME:
        kept, connections = 1.0, net.connections
    else:
        kept = (1 - sparsity) / (1 - now)
        thin = (replace(c, synapses=_thinned(c.synapses, kept)) for c in net.connections)
        connections = tuple(thin)
    then = _zeros(connections, of=net.connections)
    said = (
        f"sparsity: each connection keeps {kept:.1%} of its non-zero weights, the largest; then "
        f"{then:.1%} of all weights are zero instead of {now:.1%}, stored and placed anew; neurons "
        "are taken to spike as they do now, which only training can show, so there is no accuracy"
    )
    return replace(net, connections=connections), said


def share_of_zeros(net: IntNetwork) -> float:
    """Return it of all weights that are stored, those of a kernel once: NeuroBench's sparsity."""
    return _zeros(net.connections, of=net.connections)


def _zeros(connections: Sequence[Connection], of: Sequence[Connection]) -> float:
    """Return the share of the weights ``of`` connections that is zero in what became of them."""
    weights = sum(c.synapses.weight.size for c in of)
    return 1 - sum(nonzeros(c.synapses) for c in connections) / weights if weights else 0.0


def _thinned(synapses: Synapses, kept: float) -> Synapses:
    """Keep the largest of the weights that are not zero, this share of them."""
    weight = synapses.weight.reshape(-1).copy()
    order = np.argsort(np.abs(weight.astype(np.int64)), kind="stable")
    weight[order[: weight.size - round(kept * nonzeros(synapses))]] = 0
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
