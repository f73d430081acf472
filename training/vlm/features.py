"""What a frozen vision tower makes of a picture, computed once and kept: every later look at the picture costs no tower.

Of use where pictures come up several times and neither tower nor connector nor pictures change. Knows nothing of Lightning.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from torch import Tensor

from safelight.errors import ConfigError
from training.vlm.families.reader import IMAGE_FEATURES, HfReader
from training.vlm.interface import Example


class Features:
    """max_bytes: of the features kept; the picture longest unused goes first.

    A picture goes through the tower alone, never in a batch: the last bits of a result depend on what else is in the batch,
    and after an interruption that would be something else. Raises ConfigError where tower or connector are trained.
    """

    def __init__(self, reader: HfReader, max_bytes: int) -> None:
        trained = [name for name, parameter in reader.base.named_parameters() if parameter.requires_grad]
        if any(reader.part(name) in ("vision", "connector") for name in trained):
            raise ConfigError("cache_features: expected vision and connector frozen, and one of them is trained.")
        self._reader, self._max_bytes, self._bytes = reader, max_bytes, 0
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def example(self, number: int, example: Example) -> Example:
        """The example of record `number` with features in place of pixels. Raises ConfigError where its family does not
        offer it."""
        if number not in self._kept:
            made = self._reader.features(example)
            self._keep(number, made.inputs[IMAGE_FEATURES])
            return made
        self._kept.move_to_end(number)
        kept = {name: value for name, value in example.inputs.items() if name != "pixel_values"}
        return replace(example, inputs={**kept, IMAGE_FEATURES: self._kept[number]})

    def _keep(self, number: int, features: Tensor) -> None:
        self._kept[number] = features
        self._bytes += features.nbytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
