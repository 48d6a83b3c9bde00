"""A model and many targets: which refuse it, what would help, what each costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from snn2hw import families, rewrites
from snn2hw import target as targets
from snn2hw.errors import InputError, Snn2hwError
from snn2hw.files import scratch
from snn2hw.ir.graph import wiring
from snn2hw.ir.network import Network
from snn2hw.passes import simplify
from snn2hw.pipeline import builds
from snn2hw.pipeline.compiler import reasons
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Samples
from snn2hw.store import folders


def fits(model: Model, names: list[str]) -> dict[str, list[str]]:
    """Say for each target every reason why a model does not build for it: none where it does."""
    if isinstance(model.network, Network):
        try:
            wiring(simplify(model.network))
        except Snn2hwError as error:  # whatever the target
            return {name: [str(error)] for name in names}
    return {name: reasons(model.network, targets.load(name)) for name in names}


def would_help(model: Model, refused: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Name the rewrites with which a model builds for targets that refuse it as it is.

    Args:
        model: the network.
        refused: what ``fits`` said.
    """
    answers: dict[str, list[str]] = {}
    for target in (targets.load(name) for name, why in refused.items() if why):
        if isinstance(model.network, Network):
            changed, applied = rewrites.rewrite(
                model.network, target, ["all"], families.of(target).trains(target)
            )
            if applied and not reasons(changed, target):
                answers[target.name] = applied
    return answers


def compare_targets(
    model: Model,
    names: list[str],
    samples: Callable[[folders.Build], Samples],
    output: str | None = None,
    *,
    seen: Callable[[folders.Build, builds.Measured], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Build, simulate and price one model for several targets, and keep nothing of it.

    A target that refuses it is a row with every reason, and so is a name that no target has.
    Chips that the model's build was allowed are allowed here too, where there are so many.

    Args:
        model: the network.
        names: of the targets.
        samples: chooses them for a build.
        output: the one whose accuracy is told; None is the only one.
        seen: is shown each build, and what it did, before it is gone.
        progress: called with (targets done, targets).
    """
    rows: list[dict[str, Any]] = []
    for done, name in enumerate(names):
        if progress:
            progress(done, len(names))
        try:
            target = targets.load(name)
        except InputError as error:
            why = [str(error)]
            rows.append({"target": name, "known": False, "fits": False, "reasons": why})
            continue
        chips = targets.at_most(target, model.chips)
        with scratch(Path(tempfile.gettempdir())) as folder:
            try:
                build = export(model, target, folder, allowed=model.rewrite, chips=chips)
            except Snn2hwError as error:
                why = reasons(model.network, targets.with_chips(target, chips)) or [str(error)]
                rows.append({"target": target.name, "fits": False, "reasons": why})
                continue
            taken = samples(build)
            measured = builds.measure(build, taken, output=output)
            if seen:
                seen(build, measured)
            rows.append(row(build, measured))
    return rows


def row(build: folders.Build, measured: builds.Measured) -> dict[str, Any]:
    """Return the row of a target that takes the model."""
    changed = build.info["rewrites"]
    return {
        "fits": True, **measured.document(build.digest),
        **({"rewrites": changed} if changed else {}),
    }  # fmt: skip
