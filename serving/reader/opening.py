"""How every answer of an adapter begins: what of its prompt is the same for all pictures is computed once.

Knows nothing of requests and threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.reader.adapter import Adapter
from serving.reader.batch import Past, Place, nothing, step_of
from serving.reader.constraint import Tokens
from serving.reader.graphs import Floats, Graphs
from serving.reader.row import Row


@dataclass(frozen=True)
class Opening:
    """place: keys and values of the prompt before the first row of the picture. rest: `(T, H)`, what follows, with the tokens
    that the answer is forced to begin with. pictured: which of these rows are the picture's."""

    place: Place
    rest: Floats
    pictured: Sequence[int]

    def row(self, adapter: Adapter, tokens: Tokens, features: Floats) -> Row:
        """An answer about the picture with these `(N, H)` features, at its beginning."""
        prompt = self.rest.copy()
        prompt[self.pictured] = features
        return Row(adapter, tokens, self.place, prompt)


def open_prompt(graphs: Graphs, adapter: Adapter) -> Opening:
    """The opening of an adapter: runs the graphs."""
    image, prompt = graphs.architecture.image_token_id, list(adapter.prompt)
    before = prompt.index(image)
    forced = [] if adapter.constraint is None else adapter.constraint.matcher().forced()
    embedded = graphs.embed(np.array([prompt + forced], np.int64))[0]
    rest = prompt[before:]
    place = nothing(graphs.architecture)
    if before:
        step = step_of(place.past, [embedded[:before]])
        _, layers = graphs.decode(step, place.past.layers, adapter.matrices.decoder)
        place = Place(Past(layers, step.held), 0)
    return Opening(place, embedded[before:], [row for row, token in enumerate(rest) if token == image])
