"""What the README shows: its commands, and what they print, up to digits that vary."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
# The commands whose output it shows, in its order.
SHOWN = ("demo", "distill", "export", "energy report", "verify")
# A number that stands alone: 1,434 or 0.986 or 7.05e-04, but not those of layer1.0.lif2 or 16x8x8.
NUMBER = re.compile(r"(?<![\w.,^-])\d[\d,]*(\.\d+)?(e[+-]?\d+)?(?![\w^]|\.\w)")
# What depends on how far a student was trained: a connection's power of two, removed neurons, what
# a teacher added.
BY_CHANCE = re.compile(r", 2\^-?\d+(?=[,)])|^removed: .*\n|^The student gets .*\n", re.MULTILINE)


def blocks(language: str) -> list[str]:
    """Return the README's blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[list[str]]:
    """Return the arguments of each command, in order."""
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("snn2hw ")]


def shown() -> dict[str, str]:
    """Return what the README shows of a command's output, by command."""
    return dict(zip(SHOWN, blocks("text"), strict=True))


def shape(text: str) -> list[str]:
    """Return a text's lines with a placeholder for each number and for each run of spaces inside.

    Indents, words, units and the number of columns stay.
    """
    text = NUMBER.sub("#", BY_CHANCE.sub("", text))
    text = re.sub(r"-{2,}", "--", text)
    return [re.sub(r"(?<=\S) +(?=\S)", " ", line).rstrip() for line in text.strip("\n").split("\n")]


def difference(block: str, printed: str, *, end: bool = False) -> str:
    """Say where a block and what was printed have other shapes, "" if nowhere.

    ``...`` in the block stands for any number of lines; with ``end`` the block is only the end.
    """
    wanted, found = shape(block), shape(printed)
    pattern = [".*" if end else ""]
    pattern += ["(?:.*\n)*" if line == "..." else re.escape(line) + "\n" for line in wanted]
    if re.fullmatch("".join(pattern), "\n".join(found) + "\n", re.DOTALL if end else 0):
        return ""
    missing = [line for line in wanted if line not in (*found, "...")]
    return "\n".join(["README:", *wanted, "", "printed:", *found, "", "not printed:", *missing])
