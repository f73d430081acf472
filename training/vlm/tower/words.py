"""The words of an answer and where they go: each image token is to mean one, as the frozen language model writes it.

An answer's values follow one another, row by row about the middle of the picture, each with room for its longest text; what
stays free is filled with one word that says nothing. Knows nothing of pictures or networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from safelight.errors import ConfigError

Leaves = Mapping[str, str | int | float | bool | None]
Tokens = Callable[[str], list[int]]

FILLER = " "
NONE = -1
"""An image token of which nothing is asked."""


@dataclass(frozen=True)
class Layout:
    """One task's room: by JSON Pointer, the first image token and how many. first: of all of them."""

    room: Mapping[str, tuple[int, int]]
    first: int

    @property
    def size(self) -> int:
        """Image tokens in all."""
        return sum(count for _, count in self.room.values())


class Words:
    """tokens: of a text, without special ones. answers: by task, examples that show every word and every length there is.
    image_tokens: that a picture has. Raises ConfigError where a task's answers need more."""

    def __init__(self, tokens: Tokens, answers: Mapping[str, Sequence[Leaves]], image_tokens: int) -> None:
        self._tokens = tokens
        self.image_tokens = image_tokens
        self.layouts = {task: _layout(examples, tokens, image_tokens) for task, examples in answers.items()}
        for task, layout in self.layouts.items():
            if layout.size > image_tokens:
                raise ConfigError(
                    f"Expected answers of {task} in at most {image_tokens} words, the number of image tokens, got "
                    f"{layout.size}."
                )
        seen = {token for examples in answers.values() for leaves in examples for token in _all(leaves, tokens)}
        self.token_ids = sorted(seen | set(tokens(FILLER)))
        self._number = {token: number for number, token in enumerate(self.token_ids)}
        self._filler = self._number[tokens(FILLER)[0]]
        named = [(task, name) for task, examples in answers.items() for leaves in examples for name in _names(leaves)]
        self._places = {place: number for number, place in enumerate(dict.fromkeys(named))}

    def __len__(self) -> int:
        """How many different words there are."""
        return len(self.token_ids)

    def targets(self, task: str, leaves: Leaves) -> Tensor:
        """`(image_tokens,)` int64: the number of each image token's word, `NONE` before and after the answer."""
        numbers = torch.full((self.image_tokens,), NONE, dtype=torch.int64)
        layout = self.layouts[task]
        numbers[layout.first : layout.first + layout.size] = self._filler
        for name, value in leaves.items():
            first, _ = layout.room[name]
            own = [self._number[token] for token in self._tokens(str(value))]
            numbers[first : first + len(own)] = torch.tensor(own)
        return numbers

    @property
    def places(self) -> int:
        """How many different values may have a place in a picture."""
        return len(self._places)

    def place(self, task: str, name: str) -> int:
        """The number of a place; see `training.drawings.interface.Drawn`."""
        return self._places[task, name]

    def word(self, text: str) -> int:
        """The number of a text's first word."""
        return self._number[self._tokens(text)[0]]


def _layout(examples: Sequence[Leaves], tokens: Tokens, image_tokens: int) -> Layout:
    longest: dict[str, int] = {}
    for leaves in examples:
        for name, value in leaves.items():
            longest[name] = max(longest.get(name, 0), len(tokens(str(value))))
    names = sorted(longest, key=_natural(longest))
    side = math.isqrt(image_tokens)
    begin = first = side * max(0, (side - math.ceil(sum(longest.values()) / side)) // 2)
    room = {}
    for name in names:
        room[name] = (first, longest[name])
        first += longest[name]
    return Layout(room, begin)


def _natural(names: Iterable[str]) -> Callable[[str], tuple[int, list[tuple[int, str]]]]:
    """Properties in the order in which they came up, the items of a list by their numbers."""
    tops = {name.split("/")[1]: None for name in names}
    order = {top: i for i, top in enumerate(tops)}

    def key(name: str) -> tuple[int, list[tuple[int, str]]]:
        parts = name.split("/")[1:]
        return order[parts[0]], [(int(part), "") if part.isdigit() else (0, part) for part in parts[1:]]

    return key


def _names(leaves: Leaves) -> list[str]:
    """Of places: values, and the characters of texts."""
    characters = [f"{name}/{i}" for name, value in leaves.items() if isinstance(value, str) for i in range(len(value))]
    return [*leaves, *characters]


def _all(leaves: Leaves, tokens: Tokens) -> list[int]:
    return [token for value in leaves.values() for token in tokens(str(value))]
