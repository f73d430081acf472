"""One answer on its way: what was read so far, what the network is to be given next, and how sure it was.

Greedy: the likeliest of the tokens that may come next is taken. Knows nothing of other rows, threads and deadlines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.reader.adapter import Adapter
from serving.reader.batch import Place
from serving.reader.constraint import Tokens
from serving.reader.graphs import Floats


@dataclass(frozen=True)
class Read:
    """An answer.

    token_ids: with the token that ends it, where it was reached (`complete`). log_probability: natural logarithm of the
    product of the probabilities of the tokens that the network chose, each among those that were allowed;
    free_log_probability: of the same tokens among all. Forced tokens count in neither. chosen: how many were chosen. steps:
    how many runs of the decoder it took, the first one with the prompt included.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probability: float
    free_log_probability: float
    chosen: int
    steps: int
    complete: bool


class NotANumber(RuntimeError):
    """The network answered something that is not a number."""

    def __init__(self) -> None:
        super().__init__("The network answered something that is not a number.")


class Row:
    """new: `(T, H)`, what the network is to be given next, None while it is tokens only (`ids`). place: of the keys and
    values of what it was given before.

    prompt: `(T, H)`, what of the prompt it was not given yet, and then what the answer is forced to begin with.
    """

    def __init__(self, adapter: Adapter, tokens: Tokens, place: Place, prompt: Floats) -> None:
        self._tokens, self._most = tokens, adapter.max_new_tokens
        self._matcher = None if adapter.constraint is None else adapter.constraint.matcher()
        self.place = place
        self.new: Floats | None = prompt
        self.ids: list[int] = []
        self._answer: list[int] = []
        self._chosen = self._steps = 0
        self._log_probability = self._free_log_probability = 0.0
        self._take_forced()

    @property
    def done(self) -> bool:
        """Whether the answer is there, or as long as it may be."""
        return self._complete or len(self._answer) >= self._most

    def choose(self, logits: Floats) -> None:
        """Go on by the likeliest token, given the logits `(V,)`, and by those that then must come. Raises NotANumber and
        ConstraintBroken."""
        free = _log_sum_exp(logits)
        if self._matcher is None:
            token, among = int(logits.argmax()), free
        else:
            allowed = self._matcher.allowed()
            values = logits[allowed]
            token, among = int(allowed[values.argmax()]), _log_sum_exp(values)
            self._matcher.take(token)
        self._log_probability += float(logits[token]) - among
        self._free_log_probability += float(logits[token]) - free
        self._steps, self._chosen = self._steps + 1, self._chosen + 1
        self._answer.append(token)
        self.new, self.ids = None, [token, *self._take_forced()]

    def read(self) -> Read:
        """The answer, once the row is done."""
        ids = tuple(self._answer[: self._most])
        complete = self._complete and len(self._answer) <= self._most
        return Read(
            self._tokens.text(ids),
            ids,
            self._log_probability,
            self._free_log_probability,
            self._chosen,
            self._steps,
            complete,
        )

    @property
    def _complete(self) -> bool:
        return bool(self._answer) and self._tokens.ends(self._answer[-1])

    def _take_forced(self) -> list[int]:
        forced = [] if self._matcher is None or self.done else self._matcher.forced()
        self._answer += forced
        return forced


def _log_sum_exp(values: Floats) -> float:
    most = float(values.max())
    if not np.isfinite(most):
        raise NotANumber
    return most + float(np.log(np.exp(values - most).sum(dtype=np.float64)))
