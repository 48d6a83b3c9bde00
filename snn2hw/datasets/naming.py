"""Data sets of the user's own by name: ``KIND:PATH``, with options behind commas.

``events:clips,window=5,crop=10,10,34,34`` names the folder ``clips``. Runs and builds keep such a
name, so that they show data again as training did.

``NAME@validation``, of any data set, is its training data without the test data: a tenth of it is
held out, so that options can be chosen without looking at the test data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from snn2hw.errors import InputError, listed
from snn2hw.files import expanded

OPTIONS = {
    "events": ("window", "crop", "downsample", "polarity"),
    "image-folder": ("resize",),
}  # that each kind has
_OPTION = re.compile(r",([a-z]+)=([a-z0-9.,]*)$")


VALIDATION = "@validation"


def whole(name: str) -> str:
    """Return the name of a data set without what says which part of it is held out."""
    return name.removesuffix(VALIDATION)


def in_training(held: str, trained: Iterable[str | None]) -> bool:
    """Say whether a model was trained on the samples that a data set's name holds out.

    Args:
        held: the name of the data set, whose test part is meant.
        trained: names of the data sets that the model was trained on.
    """
    return whole(held) != held and any(
        name and name == whole(name) and _place(name) == _place(held) for name in trained
    )


def _place(name: str) -> tuple[str, str]:
    """Return what two names of the same samples have in common, however they are shown."""
    kind, path, _ = split(name)
    return kind, str(expanded(path).resolve()) if path else ""


def split(name: str) -> tuple[str, str, dict[str, str]]:
    """Return the kind, the path and the options of a data set's name."""
    kind, _, path = whole(name).partition(":")
    options: dict[str, str] = {}
    while found := _OPTION.search(path):
        # The last option is found first, with commas of its own; those before it are not its.
        if found[1] not in OPTIONS.get(kind, ()):
            break
        options = {found[1]: found[2], **options}
        path = path[: found.start()]
    return kind, path, options


def with_options(name: str, options: Mapping[str, str]) -> str:
    """Return a data set's name with these options, which replace its own of the same names.

    Raises:
        InputError: this kind of data has no such option.
    """
    if not options:
        return name
    kind, path, own = split(name)
    unknown = [k for k in options if k not in OPTIONS.get(kind, ())]
    if unknown:
        owners = [k for k, known in OPTIONS.items() if unknown[0] in known]
        raise InputError(
            f"{' and '.join(f'--{k}' for k in unknown)} cannot be used with data {name!r}.",
            f"Use it with {listed(f'--data {k}:DIR' for k in owners)}.",
        )
    part = VALIDATION if name.endswith(VALIDATION) else ""
    return f"{kind}:{path}" + "".join(f",{k}={v}" for k, v in {**own, **options}.items()) + part
