"""One picture, what stands on it, and what a model read from it. Knows nothing of models, files or figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.errors import AnswerInvalid
from safelight.reader.task import Task

MISSING = object()
"""In place of the value of a property that an answer does not have."""


@dataclass(frozen=True)
class Reading:
    """there: the answer of the record. read: the model's, None where its text is no answer of the task. log_probability: of
    the tokens that it chose, None where nothing was asked for it."""

    there: Mapping[str, Any]
    read: Mapping[str, Any] | None
    log_probability: float | None = None

    @property
    def valid(self) -> bool:
        """Whether what was said is an answer of the task."""
        return self.read is not None

    @property
    def right(self) -> bool:
        """Whether the whole answer is the record's."""
        return self.read is not None and same(self.there, self.read)

    def field(self, name: str) -> tuple[Any, Any]:
        """(there, read) of one property; MISSING where there is none."""
        return self.there.get(name, MISSING), MISSING if self.read is None else self.read.get(name, MISSING)

    def field_right(self, name: str) -> bool:
        """Whether one property is read as it is: one that neither has counts as right, where there is an answer."""
        there, read = self.field(name)
        return self.valid and same(there, read)


def judged(task: Task, truth: str, said: str, log_probability: float | None = None) -> Reading:
    """What a model said of a picture, held against the text of the record. Raises AnswerInvalid where the record does not
    hold, which is an error of whoever prepared it."""
    try:
        read = task.parse(said)
    except AnswerInvalid:
        read = None
    return Reading(task.parse(truth), read, log_probability)


def same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON: true is not 1, and the order of properties is of no consequence."""
    if one is MISSING or other is MISSING:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
