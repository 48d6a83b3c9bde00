"""Damage to JSON and TOML that keeps them mostly readable."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from fuzz.damage.values import INTEGERS, REALS, TEXTS, anything, number

Place = tuple[Any, Any]  # a dict or list, and a key or index in it
RAW = {
    "a number of 5,000 digits": "9" * 5000,
    "1e400": "1e400",
    "lists 100,000 deep": "[" * 100_000 + "]" * 100_000,
    "lists 900 deep": "[" * 900 + "]" * 900,
    "objects 5,000 deep": '{"a":' * 5000 + "1" + "}" * 5000,
    "nothing": "",
    "a lone surrogate": '"\\ud800"',
}


def damage_json(data: bytes, r: Random) -> tuple[bytes, str]:
    """Change one to three values, keys or items of a JSON document and say how."""
    document = [json.loads(data)]
    raw: dict[str, str] = {}
    said = [r.choice(JSON_KINDS)(document, r, raw) for _ in range(r.choice((1, 1, 1, 2, 3)))]
    text = json.dumps(document[0], indent=2, ensure_ascii=r.random() < 0.8)
    for mark, replaced in raw.items():
        text = text.replace(f'"{mark}"', replaced)
    return text.encode("utf-8", "surrogatepass") + b"\n", ", ".join(said)


def damage_text(_data: bytes, r: Random) -> tuple[bytes, str]:
    """Replace a text that names something, such as the newest run."""
    text = r.choice(TEXTS)
    return text.encode("utf-8", "surrogatepass"), repr(text[:40])


def damage_lines(data: bytes, r: Random) -> tuple[bytes, str]:
    """Damage one line of JSON lines, or their order and number."""
    lines = data.splitlines() or [b"{}"]
    at = r.randrange(len(lines))
    match r.randrange(5):
        case 0:
            del lines[at]
            said = "a line removed"
        case 1:
            lines *= r.choice((2, 1000))
            said = f"{len(lines)} lines"
        case 2:
            lines[at] = r.choice((b"[]", b"1", b"null", b'"a"', b"{}", b"{", b"\xff"))
            said = f"a line is {lines[at]!r}"
        case _:
            lines[at], said = damage_json(lines[at], r)
            lines[at] = lines[at].replace(b"\n", b" ")
    return b"\n".join(lines) + b"\n", said


def _places(value: Any) -> Iterator[Place]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _place(document: list[Any], r: Random) -> tuple[Place, str]:
    """Choose a place, each level as likely as the whole of the next."""
    holder, key = document, 0
    path: list[str] = []
    while isinstance(holder[key], dict | list) and holder[key] and r.random() < 0.85:
        holder = holder[key]
        key = r.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        path.append(str(key)[:40])
    return (holder, key), ".".join(path) or "the document"


def _change(document: list[Any], r: Random, _raw: dict[str, str]) -> str:
    (holder, key), path = _place(document, r)
    holder[key] = anything(r)
    return f"{path} is {str(holder[key])[:40]!r}"


def _recast(document: list[Any], r: Random, _raw: dict[str, str]) -> str:
    """Turn a number into a text, a list into an object, and the other way round."""
    (holder, key), path = _place(document, r)
    was = holder[key]
    match was:
        case bool() | int() | float() | None:
            holder[key] = r.choice((str(was), [was], {"value": was}))
        case str():
            holder[key] = r.choice((len(was), [was], None, was + "x", list(was)))
        case list():
            holder[key] = r.choice(({str(i): x for i, x in enumerate(was)}, len(was), str(was)))
        case _:
            holder[key] = r.choice(
                ([list(x) for x in was.items()], list(was.values()), str(was), len(was))
            )
    return f"{path} became a {type(holder[key]).__name__}"


def _number(document: list[Any], r: Random, _raw: dict[str, str]) -> str:
    found = [p for p in _places(document) if isinstance(p[0][p[1]], int | float)]
    if not found:
        return _change(document, r, _raw)
    holder, key = r.choice(found)
    holder[key] = number(r)
    return f"{key} is {holder[key]}"


def _raw(document: list[Any], r: Random, raw: dict[str, str]) -> str:
    (holder, key), path = _place(document, r)
    name = r.choice(list(RAW))
    mark = f"fuzz-{len(raw)}"
    raw[mark] = RAW[name]
    holder[key] = mark
    return f"{path} is {name}"


def _remove(document: list[Any], r: Random, _raw: dict[str, str]) -> str:
    (holder, key), path = _place(document, r)
    if holder is document:
        return _change(document, r, _raw)
    del holder[key]
    return f"{path} removed"


def _add(document: list[Any], r: Random, _raw: dict[str, str]) -> str:
    found = [h[k] for h, k in [(document, 0), *_places(document)] if isinstance(h[k], dict | list)]
    if not found:
        return _change(document, r, _raw)
    holder = r.choice(found)
    if isinstance(holder, dict):
        holder[r.choice(TEXTS)] = anything(r)
        return "a key added"
    count = r.choice((1, 1, 1, 5000))
    holder += [r.choice(holder) if holder and r.random() < 0.5 else anything(r)] * count
    return f"{count} items added"


def _rename(document: list[Any], r: Random, _raw: dict[str, str]) -> str:
    found = [p for p in _places(document) if isinstance(p[0], dict)]
    if not found:
        return _change(document, r, _raw)
    holder, key = r.choice(found)
    new = r.choice((*TEXTS, *map(str, holder)))
    holder[new] = holder.pop(key)
    return f"{str(key)[:40]} renamed {new[:40]!r}"


JSON_KINDS: tuple[Callable[[list[Any], Random, dict[str, str]], str], ...] = (
    _change, _change, _recast, _recast, _number, _number, _raw, _remove, _remove, _add, _rename,
)  # fmt: skip


TOML_VALUES = (
    *map(str, INTEGERS), *(repr(x) for x in REALS if x == x and abs(x) < 1e309), "nan", "-inf",
    "inf", "true", "false", "[]", "{}", '""', '"a"', "[1, 2]", '["a", 1]', "{ value = 1 }",
    "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "9" * 5000, "1e400", "0x" + "f" * 5000,
    "[" * 900 + "]" * 900, "{a=" * 900 + "1" + "}" * 900, '"""\nlines\n"""', "'\\u0000'",
    '"\\u001b[31m"', f'"{"n" * 5000}"', '"a\\nerror: forged"', "", "1 2", "'", "[[[",
)  # fmt: skip
TOML_KEYS = (
    "value", "low", "high", "kind", "source", "unit", "schema", "family", '""', '"a b"', "a.b.c",
    ".".join("a" * 500), '"\\u0000"', "n" * 5000, "1", "-", "synop", "static",
)  # fmt: skip


def damage_toml(data: bytes, r: Random) -> tuple[bytes, str]:
    """Change lines of a TOML file: values, keys and headers of tables."""
    lines = data.decode().splitlines()
    said: list[str] = []
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        at = r.choice([i for i, line in enumerate(lines) if "=" in line or line[:1] == "["])
        said.append(_change_line(lines, at, r))
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"), ", ".join(said)


def _change_line(lines: list[str], at: int, r: Random) -> str:
    line = lines[at]
    key = re.split(r"\s*=", line, maxsplit=1)[0]
    match r.randrange(8):
        case 0:
            lines[at] = ""
            return f"{line[:30]} removed"
        case 1:
            lines.insert(at, line)
            return f"{line[:30]} twice"
        case 2:
            lines.insert(at, f"{r.choice(TOML_KEYS)} = {r.choice(TOML_VALUES)}")
            return f"a line before {line[:30]}"
        case 3:
            other = r.choice(lines)
            lines[at] = other
            return f"{line[:30]} became {other[:30]}"
        case _ if "=" in line:
            new = key if r.random() < 0.85 else r.choice(TOML_KEYS)
            value = r.choice(TOML_VALUES)
            lines[at] = f"{new} = {value}"
            return f"{new[:30]} = {value[:30]}"
        case _:
            new = r.choice((*TOML_KEYS, "limits.cores_per_chip", "prices.synop", "numbers", "x.y"))
            lines[at] = f"[{new}]" if r.random() < 0.8 else f"[[{new}]]"
            return f"{line[:30]} became {lines[at][:30]}"
