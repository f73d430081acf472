"""Families of vision-language models, through transformers' `AutoModelForImageTextToText`: opened, adapted, saved.

transformers and peft are imported where they are first needed, not here: together they take seconds.
"""

from training.vlm.families.adapters import Adaptation, adapt, load_adapter
from training.vlm.families.opening import FAMILIES, open_reader

__all__ = ["FAMILIES", "Adaptation", "adapt", "load_adapter", "open_reader"]
