"""What may come next in an answer: a task's JSON Schema as a grammar over a base's tokens (llguidance).

An answer is compact JSON: no white space, properties in the schema's order (safelight/reader/task.py); only what JSON may
write in two ways (1.50, -0, \\u001F) may be the other one. Tokens are forced as the tokenizer itself cuts the text: where a
forced piece may grow into a longer token with what follows, its end is left to the model. Knows nothing of logits, pictures
and graphs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from safelight.errors import ManifestInvalid

Allowed = NDArray[np.int64]
_COMPACT: Any = {"item_separator": ",", "key_separator": ":", "whitespace_flexible": False, "lenient": False}
_MAX_SCHEMA_BYTES = 256 * 1024


def _limits() -> LLParserLimits:
    """The library's own bounds on time, and tighter ones on memory; its messages would quote what was read."""
    return LLParserLimits(max_grammar_size=100_000, max_lexer_states=20_000, verbose_errors=False)


class ConstraintBroken(RuntimeError):
    """The grammar cannot go on: one of its bounds was reached on the way. Holds nothing of what was read."""

    def __init__(self) -> None:
        super().__init__("The grammar of the answer came to a bound of its parser.")


class Tokens:
    """A base's tokens. May be shared between threads. Costs about half a second to make.

    tokenizer: the text of `tokenizer.json`. vocabulary: how many logits there are. end: the tokens that end an answer, the
    one that training used first. Raises ManifestInvalid when the tokenizer cannot be used.
    """

    def __init__(self, tokenizer: str, vocabulary: int, end: Sequence[int]) -> None:
        if not tokenizer.lstrip().startswith(
            "{"
        ):  # the library would take anything else for a path, or a name on a hub
            raise ManifestInvalid("Expected a tokenizer.json that is a JSON object.")
        try:
            self.inner = LLTokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(end))
        except ValueError:
            raise ManifestInvalid("The tokenizer cannot be read, or has more tokens than the decoder.") from None
        self.vocabulary, self.end = vocabulary, tuple(end)
        self._endings = frozenset(end)

    def ends(self, token: int) -> bool:
        """Whether an answer ends with it."""
        return token in self._endings

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say, without the one that ends the answer. Bytes that are no UTF-8 are replaced."""
        words = ids[:-1] if ids and self.ends(ids[-1]) else ids
        return self.inner.decode_bytes(list(words)).decode(errors="replace")


class Constraint:
    """A schema's grammar, compiled once. May be shared between threads.

    Raises ManifestInvalid when the schema asks for something that cannot be promised (an unknown format or keyword, a
    reference elsewhere), or that takes more than a bounded amount of work.
    """

    def __init__(self, schema: Mapping[str, Any], tokens: Tokens) -> None:
        text = json.dumps(schema)
        if len(text) > _MAX_SCHEMA_BYTES:
            raise ManifestInvalid(f"Expected a JSON Schema of at most {_MAX_SCHEMA_BYTES} bytes, got {len(text)}.")
        try:
            grammar = LLMatcher.grammar_from_json_schema(text, overrides=_COMPACT)
            refused = LLMatcher.validate_grammar(grammar, tokens.inner, limits=_limits())
        except ValueError:
            raise ManifestInvalid("The JSON Schema cannot be made a grammar.") from None
        if refused:
            raise ManifestInvalid(f"The JSON Schema cannot be made a grammar: {refused.splitlines()[0][:200]}")
        self._tokens = tokens
        self._first = LLMatcher(tokens.inner, grammar, log_level=0, limits=_limits())
        if self._first.is_error():
            raise ManifestInvalid("The JSON Schema cannot be made a grammar within its bounds.")

    def matcher(self) -> Matcher:
        """One that stands at the beginning of an answer."""
        return Matcher(self._first.deep_copy(), self._tokens)


class Matcher:
    """How far one answer is. ended: the token that ends it was taken. Belongs to one thread at a time; every method raises
    ConstraintBroken."""

    def __init__(self, inner: LLMatcher, tokens: Tokens) -> None:
        self._inner, self._tokens = inner, tokens
        self._allowed: Allowed | None = None
        self.ended = False

    def forced(self) -> list[int]:
        """The tokens that must come next, taken; the one that ends the answer is among them where that is all that may
        come."""
        forced: list[int] = []
        while not self.ended:
            if not self._inner.is_stopped() and not (tokens := self._inner.compute_ff_tokens()):
                tokens = self._only()
            elif self._inner.is_stopped():
                self._check()
                tokens = [self._tokens.end[0]]
            if not tokens:
                break
            for token in tokens:
                self.take(token)
            forced += tokens
        return forced

    def allowed(self) -> Allowed:
        """The ids of the tokens that may come next, at least one, in order."""
        if self._allowed is None:
            bits = np.frombuffer(self._inner.compute_bitmask(), np.uint8)
            self._check()
            self._allowed = np.flatnonzero(np.unpackbits(bits, count=self._tokens.vocabulary, bitorder="little"))
            if not len(self._allowed):
                raise ConstraintBroken
        return self._allowed

    def take(self, token: int) -> None:
        """Go on with a token that is allowed."""
        self._allowed = None
        self.ended = self._tokens.ends(token)
        if not self.ended and not self._inner.consume_token(token):
            raise ConstraintBroken

    def _only(self) -> list[int]:
        """The one token that is allowed, if it is one; tokens that end an answer count as one."""
        allowed = self.allowed()
        if len(allowed) == 1:
            return [int(allowed[0])]
        if len(allowed) <= len(self._tokens.end) and all(self._tokens.ends(int(token)) for token in allowed):
            return [self._tokens.end[0]]
        return []

    def _check(self) -> None:
        if self._inner.is_error():
            raise ConstraintBroken
