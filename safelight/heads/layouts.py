"""Finding, among a graph's outputs, those that a head needs. What fits in no way, or in two, is refused.

Knows nothing of values: only names, element types and shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safelight.errors import ManifestInvalid
from safelight.heads.interface import Output

_FLOATS = ("float32", "float16")
_INTEGERS = ("int64", "int32")


@dataclass(frozen=True)
class Rows:
    """An output that holds a row of numbers for each box. columns: whether it is `(B, numbers, boxes)`."""

    name: str
    columns: bool


def only(outputs: Sequence[Output], fits: Callable[[Output], bool], expected: str) -> Output:
    """The one output that fits. Raises ManifestInvalid when there is none, or several."""
    found = [output for output in outputs if fits(output)]
    if len(found) != 1:
        raise ManifestInvalid(
            f"Expected one output with {expected}, got {len(found) or 'none'} among {described(outputs)}."
        )
    return found[0]


def rows(outputs: Sequence[Output], numbers: int, expected: str) -> Rows:
    """The output that holds so many numbers for each box. Raises ManifestInvalid, also when boxes could be numbers."""

    def fits(output: Output) -> bool:
        return is_float(output) and len(output.shape) == 3 and numbers in output.shape[1:]

    found = only(outputs, fits, f"{expected}: (B, N, {numbers}) or (B, {numbers}, N)")
    if found.shape[1] == found.shape[2]:
        raise ManifestInvalid(f"{found.name} is {numbers} x {numbers}: which side are the boxes cannot be told.")
    return Rows(found.name, columns=found.shape[1] == numbers)


def named(outputs: Sequence[Output], fits: Callable[[Output], bool], words: Sequence[str], expected: str) -> Output:
    """The one output that fits; where several do, the one with one of the words in its name. Raises ManifestInvalid."""
    fitting = [output for output in outputs if fits(output)]
    if len(fitting) > 1:
        fitting = [output for output in fitting if any(word in output.name.lower() for word in words)]
        expected = f"{expected}, named like {' or '.join(words)}"
    if len(fitting) != 1:
        raise ManifestInvalid(
            f"Expected one output with {expected}, got {len(fitting) or 'none'} among {described(outputs)}."
        )
    return fitting[0]


def is_float(output: Output) -> bool:
    """Whether it holds numbers with fractions."""
    return output.dtype in _FLOATS


def is_integer(output: Output) -> bool:
    """Whether it holds whole numbers."""
    return output.dtype in _INTEGERS


def described(outputs: Sequence[Output]) -> str:
    """Names, shapes and types, for messages."""
    return ", ".join(
        f"{output.name} ({', '.join('?' if d is None else str(d) for d in output.shape)}) {output.dtype}"
        for output in outputs
    )
