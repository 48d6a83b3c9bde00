# pyright: basic
"""How modules with a memory are called: what they start from, and what a call returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from snn2hw.errors import listed
from snn2hw.train.modules.kinds import kind

Many = Literal["", "first", "batch first", "folded"]
States = dict[str, Any]


class Form(NamedTuple):
    """How a kind of cells is called.

    Args:
        given: the states that a call starts from, by name, from the module and the arguments
            behind the input; None for what is new, or not yet made.
        made: the answer and the states of what a call returned.
        start: the value that a state has before the first step, 0 if it is not named.
        many: says how a call takes all steps at once: ``first`` is ``[T, B, ...]``, ``batch first``
            ``[B, T, ...]``, ``folded`` both in one axis, as the module's ``batch_size`` or
            ``num_timesteps`` says; nothing if a call is a step.
        spikes: says whether the answer is spikes.
    """

    given: Callable[[Any, tuple[Any, ...], Mapping[str, Any]], States]
    made: Callable[[Any, Any], tuple[Tensor, States]]
    start: Callable[[Any, str], Any] = lambda _m, _s: 0.0
    many: Callable[[Any], Many] = lambda _m: ""
    spikes: Callable[[Any], bool] = lambda _m: True


def in_steps(x: Tensor, form: Form, module: Any) -> Tensor:
    """Return what a call takes or gives as ``[T, B, ...]``, a view."""
    match form.many(module):
        case "":
            return x[None]
        case "first":
            return x
        case "batch first":
            return x.transpose(0, 1)
        case "folded":
            return x.unflatten(0, (module.batch_size, module.num_timesteps)).transpose(0, 1)


def in_precision(x: Tensor, answer: Tensor, out: Any) -> tuple[Tensor, Any]:
    """Give spikes the precision of the input, which snnTorch's have in float32 alone."""
    found = answer.to(x.dtype)
    return found, (found, *out[1:]) if isinstance(out, tuple) else found


def sends_spikes(module: nn.Module) -> bool:
    """Say whether a module with a memory gives spikes."""
    return FORMS[kind(module)].spikes(module)


def _of_snntorch(*names: str) -> Form:
    def given(m: Any, rest: tuple[Any, ...], kwargs: Mapping[str, Any]) -> States:
        handed = dict(zip(names, rest, strict=False)) | dict(kwargs)
        return {n: getattr(m, n) if handed.get(n) is None else handed[n] for n in names}

    def made(m: Any, out: Any) -> tuple[Tensor, States]:
        answer = out[0] if isinstance(out, tuple) else out
        return answer, {n: getattr(m, n) for n in names}

    return Form(given, made, spikes=lambda m: True)


def _handed(_m: Any, rest: tuple[Any, ...], kwargs: Mapping[str, Any]) -> States:
    state = rest[0] if rest else kwargs.get("state")
    return {"state": None} if state is None else dict(state._asdict())


def _returned(_m: Any, out: Any) -> tuple[Tensor, States]:
    return out[0], dict(out[1]._asdict())


def _rest(m: Any, name: str) -> Any:
    if name != "v":
        return 0.0
    return m.p.v_leak if hasattr(m.p, "v_leak") else m.p.v_reset


def _of_norse(many: Many = "", *, spikes: bool = True) -> Form:
    return Form(_handed, _returned, _rest, lambda _m: many, lambda _m: spikes)


_OWN = Form(
    lambda _m, _a, _k: {}, lambda _m, out: (out, {}), many=lambda _m: "first",
    spikes=lambda m: type(m).__name__ == "Lif",
)  # fmt: skip


def _memories(m: Any, _rest: tuple[Any, ...], _k: Mapping[str, Any]) -> States:
    return {"v": m.v}


_SPIKINGJELLY = Form(
    _memories,
    lambda m, out: (out, {"v": m.v}),
    lambda m, _name: m.v_reset or 0.0,
    lambda m: "first" if m.step_mode == "m" else "",
)


def _of_sinabs(many: Many, *, spikes: bool = True) -> Form:
    def states(m: Any) -> States:
        return {n: getattr(m, n) for n in ("v_mem", "i_syn") if getattr(m, n, None) is not None}

    return Form(
        lambda m, _a, _k: states(m),
        lambda m, out: (out, states(m)),
        many=lambda _m: many,
        spikes=lambda _m: spikes,
    )


FORMS: Mapping[str, Form] = {
    "snntorch.Leaky": _of_snntorch("mem"),
    "snntorch.Lapicque": _of_snntorch("mem"),
    "snntorch.Synaptic": _of_snntorch("syn", "mem"),
    "snntorch.Alpha": _of_snntorch("syn_exc", "syn_inh", "mem"),
    "snntorch.RLeaky": _of_snntorch("spk", "mem"),
    "snntorch.RSynaptic": _of_snntorch("spk", "syn", "mem"),
    **{f"norse.{n}": _of_norse() for n in ("LIFBoxCell", "LIFCell", "IAFCell", "LIFRecurrentCell")},
    **{f"norse.{n}": _of_norse("first") for n in ("LIF", "IAF", "LIFRecurrent")},
    **{f"norse.{n}": _of_norse(spikes=False) for n in ("LICell", "LIBoxCell")},
    "norse.LI": _of_norse("first", spikes=False),
    **{f"spikingjelly.{n}": _SPIKINGJELLY for n in ("IFNode", "LIFNode", "ParametricLIFNode")},
    **{f"sinabs.{n}": _of_sinabs("batch first") for n in ("IAF", "LIF")},
    **{f"sinabs.{n}": _of_sinabs("folded") for n in ("IAFSqueeze", "LIFSqueeze")},
    "sinabs.ExpLeak": _of_sinabs("batch first", spikes=False),
    "sinabs.ExpLeakSqueeze": _of_sinabs("folded", spikes=False),
    "snn2hw.Lif": _OWN,
    "snn2hw.Readout": _OWN,
}


def strangers(module: nn.Module) -> list[str]:
    """Name the spiking layers of known packages that are not among these forms."""
    return [
        f"{path or 'the module'}: {type(part).__name__} is not known; of {home} there are "
        f"{listed([n.partition('.')[2] for n in FORMS if n.startswith(f'{home}.')])}"
        for path, part in module.named_modules()
        for home in [kind(part).partition(".")[0]]
        if kind(part) not in FORMS and _spikes(part)
    ]


def _spikes(part: nn.Module) -> bool:
    """Say whether a module is one of a package's neurons, by the classes that it comes from."""
    bases = NEURONS.get(type(part).__module__.split(".")[0], ())
    return any(c.__name__ in bases for c in type(part).__mro__)


# Classes that a package's neurons have among their bases.
NEURONS: Mapping[str, tuple[str, ...]] = {
    "snntorch": ("SpikingNeuron", "LeakyParallel", "LeakyKernel"),
    "norse": ("SNN", "SNNCell", "SNNRecurrent", "SNNRecurrentCell", "CobaLIFCell"),
    "spikingjelly": ("BaseNode", "SimpleBaseNode"),
    "sinabs": ("StatefulLayer",),
}
