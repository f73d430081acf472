"""What is to be read from a picture: a task's answer as a JSON Schema, and the question put to the model.

Knows nothing of pictures, models or tokens. An answer has one text, so that a model learns one way to write it and two
answers can be compared: no white space, properties in the schema's order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from safelight.errors import AnswerInvalid, ConfigError
from safelight.reader.schema import declared, in_order, pointer, validator_of

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SIDES = (32, 4096)
Leaf = str | int | float | bool | None


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with an answer. place: JSON Pointer into the answer, empty for the whole. rule: JSON Pointer
    into the schema. message: what was expected and what came; it quotes the answer, so it is for the answer's owner."""

    place: str
    rule: str
    message: str


@dataclass(frozen=True)
class Task:
    """name: lower case, as folders are called. schema: JSON Schema (draft 2020-12) of the answer, an object. prompt: the
    question, plain text. image_side: of the square picture that the model is given, in pixels.

    Raises ConfigError where one of them cannot be used.
    """

    name: str
    schema: dict[str, Any] = field(hash=False)
    prompt: str
    image_side: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"task.name: expected lower-case letters, digits, - and _, got {self.name!r}.")
        if not self.prompt.strip():
            raise ConfigError("task.prompt: expected a question, got none.")
        if not _SIDES[0] <= self.image_side <= _SIDES[1]:
            raise ConfigError(f"task.image_side: expected {_SIDES[0]} to {_SIDES[1]} pixels, got {self.image_side}.")
        _ = self.validator  # a schema that cannot be used is refused at once

    @cached_property
    def validator(self) -> Draft202012Validator:
        """What checks answers against the schema."""
        return validator_of(self.schema)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the answer's properties, in the schema's order."""
        return declared(self.schema)

    def violations(self, answer: Any) -> list[Violation]:
        """What is wrong with an answer, in the order of its places; nothing where it holds."""
        found = [
            Violation(pointer(error.absolute_path), pointer(error.absolute_schema_path), error.message)
            for error in self.validator.iter_errors(answer)
        ]
        return sorted(found, key=lambda violation: (violation.place, violation.rule))

    def text(self, answer: Mapping[str, Any]) -> str:
        """The one text of an answer: compact JSON in UTF-8's characters, properties in the schema's order.

        Raises AnswerInvalid where the answer does not hold.
        """
        plain = dict(answer)
        self._refuse(plain)
        try:
            ordered = in_order(plain, self.schema, self.schema)
            text = json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            text.encode()
        except (ValueError, TypeError, RecursionError):  # NaN, half a surrogate pair, a value that JSON does not have
            raise AnswerInvalid("Expected values that JSON can hold.") from None
        return text

    def parse(self, text: str) -> dict[str, Any]:
        """The answer that a text gives, in the schema's order. Raises AnswerInvalid where it is not JSON (RFC 8259), names
        a property twice, or does not hold."""
        answer = strict_json(text)
        self._refuse(answer)
        ordered: dict[str, Any] = in_order(answer, self.schema, self.schema)
        return ordered

    def leaves(self, answer: Mapping[str, Any]) -> dict[str, Leaf]:
        """The single values of an answer by JSON Pointer: {"/keyway": "SC1", "/bittings/0": 2}. An empty list or object
        counts as one value, None."""
        return dict(_leaves(in_order(answer, self.schema, self.schema), ""))

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the validator, which is made again where the task arrives."""
        return Task, (self.name, self.schema, self.prompt, self.image_side)

    def _refuse(self, answer: Any) -> None:
        """The message names the schema's rule alone: the answer's own words stay out of it."""
        first = next(iter(self.validator.iter_errors(answer)), None)
        if first is not None:
            rule = pointer(first.absolute_schema_path)
            raise AnswerInvalid(f"Expected an answer of task {self.name!r} that holds to {rule} of its schema.")


def strict_json(text: str) -> Any:
    """JSON as RFC 8259 has it: no NaN, no property twice. Raises AnswerInvalid, without a word of the text."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise AnswerInvalid(f"Expected JSON, got something else{where}.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AnswerInvalid("Expected every property once, got one twice.")
    return found


def _no_constant(_: str) -> NoReturn:
    raise AnswerInvalid("Expected a number that JSON can hold, got NaN or Infinity.")


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Leaf]]:
    if not isinstance(value, (dict, list)):
        yield place, value
    elif not value:
        yield place, None
    else:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, place + pointer([key]))
