"""The families of detectors by name, and a saved detector back from its folder, whichever family it is of."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model

from safelight.errors import WeightsError
from training.detector.hf import HfDetector
from training.detector.interface import DESCRIPTION, WEIGHTS, Detector
from training.detector.yolov3_tiny import YoloV3TinyDetector

FAMILIES: dict[str, type[Detector]] = {cls.family: cls for cls in (YoloV3TinyDetector, HfDetector)}


def load_detector(folder: Path) -> Detector:
    """The detector that `Detector.save` wrote, in evaluation mode. Raises WeightsError when it is missing or damaged."""
    try:
        saved = json.loads((folder / DESCRIPTION).read_text())
        detector = FAMILIES[saved["family"]].rebuild(saved["labels"], saved["description"])
    except FileNotFoundError:
        raise WeightsError(f"Expected {WEIGHTS} and {DESCRIPTION} in {folder}. Run the train stage first.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{DESCRIPTION} in {folder} does not describe a known detector: {error}") from None
    try:
        load_model(detector, folder / WEIGHTS)
    except FileNotFoundError:
        raise WeightsError(f"Expected {WEIGHTS} beside {DESCRIPTION} in {folder}. Run the train stage first.") from None
    except SafetensorError as error:
        raise WeightsError(f"{WEIGHTS} in {folder} is damaged: {error}") from None
    except RuntimeError:
        raise WeightsError(
            f"The weights in {folder} belong to another network than {DESCRIPTION} beside them."
        ) from None
    return detector.eval()
