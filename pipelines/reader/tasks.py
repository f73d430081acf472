"""A task's configuration (conf/task) as the library takes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safelight.errors import AnswerInvalid, ConfigError
from safelight.reader.task import Task, strict_json


def task_of(values: Mapping[str, Any]) -> Task:
    """The task that plain, resolved values of `cfg.task` describe. Raises ConfigError."""
    return Task(values["name"], schema_of(values["schema"]), values["prompt"], values["image_side"])


def schema_of(given: Any) -> dict[str, Any]:
    """A JSON Schema, from itself or from the path of a JSON file. Raises ConfigError."""
    if given is None:
        raise ConfigError("Expected the schema of the answer: say task.schema=FILE.json.")
    if isinstance(given, str):
        try:
            given = strict_json(Path(given).read_text("utf-8-sig"))
        except (OSError, UnicodeDecodeError):
            raise ConfigError("task.schema: expected a file of JSON that can be read.") from None
        except AnswerInvalid as error:
            raise ConfigError(f"task.schema: {error.detail}") from None
    if not isinstance(given, dict):
        raise ConfigError(f"task.schema: expected an object, got {type(given).__name__}.")
    return given
