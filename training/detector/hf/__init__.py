"""Detection transformers of the transformers library: any checkpoint that `AutoModelForObjectDetection` opens.

transformers and peft are imported where they are first needed, not here: together they take seconds.
"""

from training.detector.hf.adapters import Lora
from training.detector.hf.backbone import Backbone
from training.detector.hf.detector import HfDetector, pretrained

__all__ = ["Backbone", "HfDetector", "Lora", "pretrained"]
