"""Small faults in source code: one operator, number or condition changed at a time.

What is changed is what an arithmetic slip would be. Annotations, default messages, decorators,
texts and ``strict`` of ``zip``, which only asserts, stay: no test of arithmetic can or should see
them.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARED = {
    ast.Lt: ("<=", ">="), ast.LtE: ("<", ">"), ast.Gt: (">=", "<="), ast.GtE: (">", "<"),
    ast.Eq: ("!=",), ast.NotEq: ("==",), ast.In: ("not in",), ast.NotIn: ("in",),
    ast.Is: ("is not",), ast.IsNot: ("is",),
}  # fmt: skip
COMPUTED = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "//", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.Pow: "*", ast.LShift: ">>", ast.RShift: "<<", ast.BitAnd: "|", ast.BitOr: "&",
    ast.BitXor: "&", ast.MatMult: "+",
}  # fmt: skip
INSTEAD = {
    "min": "max", "max": "min", "floor": "ceil", "ceil": "floor", "any": "all", "all": "any",
    "minimum": "maximum", "maximum": "minimum", "argmin": "argmax", "argmax": "argmin",
    "sum": "max", "mean": "sum", "zeros_like": "ones_like", "ones_like": "zeros_like",
}  # fmt: skip
Change = tuple[int, int, int, str]  # line, start, end, what to put there


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """One change of one line of a module.

    Args:
        module: path of the file, from the project's root.
        line: its number, from 1.
        start: where what is replaced begins in the file's bytes.
        end: and where it ends.
        old: what stood there.
        new: what stands there instead.
        where: the function or class around it.
        shown: the line without its indentation.
        again: how many changes alike the same line of text has had before in this place.
    """

    module: str
    line: int
    start: int
    end: int
    old: str
    new: str
    where: str
    shown: str
    again: int = 0

    @property
    def key(self) -> str:
        """Name it in a way that outlasts changes elsewhere in the file."""
        number = f" #{self.again + 1}" if self.again else ""
        return f"{self.module}:{self.where}: {self.shown}: {self.old} -> {self.new}{number}"

    def put(self, source: bytes) -> bytes:
        """Return the file with the change."""
        return source[: self.start] + self.new.encode() + source[self.end :]


def mutants(root: Path, module: str) -> list[Mutant]:
    """Return every small fault of a module that still compiles."""
    source = (root / module).read_bytes()
    found: list[Mutant] = []
    seen: dict[tuple[str, ...], int] = {}
    for (line, start, end, new), where in _Source(source).changes():
        old = source[start:end].decode()
        shown = source.splitlines()[line - 1].decode().strip()
        alike = (where, shown, old, new)
        again = seen[alike] = seen.get(alike, -1) + 1
        mutant = Mutant(module, line, start, end, old, new, where, shown, again)
        try:
            compile(mutant.put(source), module, "exec")
        except SyntaxError:
            continue
        found.append(mutant)
    return found


class _Source:
    """A file's bytes, and what may be changed in them.

    A method named after a kind of node yields its changes: line, start, end, and what to put there.
    """

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.begins = [0]
        for line in source.splitlines(keepends=True):
            self.begins.append(self.begins[-1] + len(line))

    def changes(self) -> Iterator[tuple[Change, str]]:
        """Yield every change with the function around it."""
        for node, where in _walk(ast.parse(self.source), ""):
            find = getattr(self, f"of_{type(node).__name__}", None)
            for change in find(node) if find else ():
                yield change, where

    def start(self, node: ast.expr) -> int:
        """Return where an expression begins."""
        return self.begins[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr) -> int:
        """Return where it ends."""
        return self.begins[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)

    def whole(self, node: ast.expr, new: str) -> Change:
        """Replace an expression."""
        return node.lineno, self.start(node), self.end(node), new

    def between(self, left: ast.expr, right: ast.expr, sign: str, new: str) -> Change:
        """Replace an operator between two operands, around which there may be brackets."""
        at = self.source.index(sign.encode(), self.end(left), self.start(right))
        return left.end_lineno or 0, at, at + len(sign), new

    def of_Compare(self, node: ast.Compare) -> Iterator[Change]:  # noqa: N802
        pairs = itertools.pairwise([node.left, *node.comparators])
        for (a, b), op in zip(pairs, node.ops, strict=True):
            for new in COMPARED[type(op)]:
                yield self.between(a, b, SIGNS[type(op)], new)

    def of_BinOp(self, node: ast.BinOp) -> Iterator[Change]:  # noqa: N802
        if not any(_is_text(side) for side in (node.left, node.right)):
            sign = SIGNS[type(node.op)]
            yield self.between(node.left, node.right, sign, COMPUTED[type(node.op)])

    def of_AugAssign(self, node: ast.AugAssign) -> Iterator[Change]:  # noqa: N802
        sign, new = f"{SIGNS[type(node.op)]}=", f"{COMPUTED[type(node.op)]}="
        yield self.between(node.target, node.value, sign, new)

    def of_BoolOp(self, node: ast.BoolOp) -> Iterator[Change]:  # noqa: N802
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for a, b in itertools.pairwise(node.values):
            yield self.between(a, b, old, new)

    def of_UnaryOp(self, node: ast.UnaryOp) -> Iterator[Change]:  # noqa: N802
        sign, at = SIGNS.get(type(node.op), ""), self.start(node)
        if sign:
            yield node.lineno, at, at + len(sign), ""

    def of_Constant(self, node: ast.Constant) -> Iterator[Change]:  # noqa: N802
        match node.value:
            case bool(value):
                yield self.whole(node, str(not value))
            case int(value):
                yield self.whole(node, str(value + 1))
            case float(value):
                yield self.whole(node, repr(value * 2 or 1.0))
            case _:
                pass

    def of_Name(self, node: ast.Name) -> Iterator[Change]:  # noqa: N802
        if isinstance(node.ctx, ast.Load) and node.id in INSTEAD:
            yield self.whole(node, INSTEAD[node.id])

    def of_Attribute(self, node: ast.Attribute) -> Iterator[Change]:  # noqa: N802
        if node.attr in INSTEAD:
            end = self.end(node)
            yield node.end_lineno or 0, end - len(node.attr), end, INSTEAD[node.attr]

    def of_If(self, node: ast.If | ast.IfExp) -> Iterator[Change]:  # noqa: N802
        if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            test = self.source[self.start(node.test) : self.end(node.test)].decode()
            yield self.whole(node.test, f"not ({test})")

    of_IfExp = of_If  # noqa: N815


SIGNS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.In: "in", ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|",
    ast.BitXor: "^", ast.MatMult: "@", ast.USub: "-", ast.Not: "not", ast.Invert: "~",
}  # fmt: skip


def _is_text(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case _:
            return False


def _walk(node: ast.AST, where: str) -> Iterator[tuple[ast.AST, str]]:
    """Yield the nodes whose value is computed when the program runs, with what is around them."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "format_spec"):
            continue
        for child in value if isinstance(value, list) else [value]:
            # Messages are not arithmetic.
            if isinstance(child, ast.Raise | ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue
            inside = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inside = f"{where}.{child.name}".strip(".")
            yield child, inside
            yield from _walk(child, inside)
