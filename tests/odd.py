"""Documents with one thing wrong: every field in turn is missing, or another kind of value."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from snn2hw.errors import Snn2hwError

VALUES: tuple[Any, ...] = (None, True, -1, 2**31, 10**30, 0.5, 1e300, "", "../x", [None], {"x": 1})


def variants(document: Any, values: tuple[Any, ...] = VALUES) -> Iterator[tuple[str, Any]]:
    """Yield what was changed and the document, which is the caller's to keep or spoil."""
    for path in _paths(document):
        name = ".".join(map(str, path))
        for value in values:
            yield f"{name} = {value!r}", _put(document, path, value)
        if path:
            yield f"no {name}", _put(document, path, None, drop=True)


def refuses(action: Callable[[], object], named: str, change: str) -> bool:
    """Say whether an action ends in an error of ours that names a file; no other may escape."""
    try:
        action()
    except Snn2hwError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(change) from error
    else:
        return False
    assert named in message, (change, message)
    return True


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    items = value.items() if isinstance(value, dict) else ()
    # Of a list, the first entry stands for all.
    items = enumerate(value[:1]) if isinstance(value, list) else items
    for key, item in items:
        yield from ((key, *path) for path in _paths(item))


def _put(document: Any, path: tuple[Any, ...], value: Any, drop: bool = False) -> Any:
    if not path:
        return copy.deepcopy(value)
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = copy.deepcopy(value)
    return changed
