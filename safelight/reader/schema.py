"""When a JSON Schema may describe a reader's answers, and the order in which it names their properties.

Knows nothing of pictures, prompts or models. JSON Schema, draft 2020-12 (json-schema.org/draft/2020-12).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from safelight.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

DRAFT = "https://json-schema.org/draft/2020-12/schema"
FORMATS = ("date", "email", "ipv4", "ipv6", "regex", "uuid")
"""What `format` is held to: those that need no further package, so that every installation decides alike."""

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_SAYS_NOTHING = _ANNOTATIONS | {"$comment", "$schema", "$id", "$defs", "$anchor"}
_BRANCHES = ("allOf", "anyOf", "oneOf")
_UNSUPPORTED = ("$anchor", "$dynamicRef", "$dynamicAnchor")


def validator_of(schema: Mapping[str, Any]) -> Draft202012Validator:
    """What checks answers against `schema`, `FORMATS` included. Nothing is ever fetched for a reference.

    Raises ConfigError where the schema is not one, is not of draft 2020-12, refers outside itself, does not want an
    object at its root, or constrains nothing: declares no property, requires none, or says nothing of any of them.
    """
    # Imported here: it takes up to a second where formats' grammars are installed, and a service may have no reader.
    import jsonschema
    from referencing import Registry

    if not isinstance(schema, Mapping):
        raise ConfigError(f"schema: expected an object, got {type(schema).__name__}.")
    if str(schema.get("$schema", DRAFT)).rstrip("#") != DRAFT:
        raise ConfigError(f"schema: expected draft 2020-12 ($schema {DRAFT}), got {schema['$schema']!r}.")
    try:
        jsonschema.Draft202012Validator.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise ConfigError(f"schema: {pointer(error.absolute_path) or '/'}: {error.message}") from None
    _refuse_outside(schema)
    _refuse_idle(schema)
    return jsonschema.Draft202012Validator(
        schema, registry=Registry(), format_checker=jsonschema.FormatChecker(FORMATS)
    )


def in_order(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """`value` with the properties of its objects in the order in which the schema first names them, others after them by
    name; numbers without a fraction as integers, as RFC 8785 writes them. schema: of `value`. root: what `#` refers to."""
    if isinstance(value, Mapping):
        named = _properties(schema, root)
        keys = [*(key for key in named if key in value), *sorted(key for key in value if key not in named)]
        return {key: in_order(value[key], named.get(key, True), root) for key in keys}
    if isinstance(value, (list, tuple)):
        return [in_order(item, _item(schema, index, root), root) for index, item in enumerate(value)]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def declared(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the properties at the root, in the order in which the schema first names them."""
    return tuple(_properties(schema, schema))


def pointer(path: Iterable[str | int]) -> str:
    """A path of keys and indices as a JSON Pointer (RFC 6901); empty for the root."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _refuse_outside(schema: Any) -> None:
    """References within the document alone, by pointer: an answer is never checked against what is fetched."""
    for node in _nodes(schema):
        reference = node.get("$ref", "#")
        if isinstance(reference, str) and not (reference == "#" or reference.startswith("#/")):
            raise ConfigError(f"schema: expected $ref within the schema (#/$defs/NAME), got {reference!r}.")
        if isinstance(reference, str) and _target(reference, schema) is None:
            raise ConfigError(f"schema: $ref {reference!r} leads nowhere.")
        for word in (*_UNSUPPORTED, *(["$id"] if node is not schema else [])):
            if isinstance(node.get(word), str):
                raise ConfigError(f"schema: {word} is not supported here; refer with $ref and a pointer.")


def _refuse_idle(schema: Mapping[str, Any]) -> None:
    """A schema that holds for everything would let everything through: training on typing errors, and any answer."""
    resolved = _resolved(schema, schema)
    if resolved.get("type") != "object":
        raise ConfigError(f'schema: expected "type": "object" at the root, got {resolved.get("type")!r}.')
    named = _properties(schema, schema)
    if not named:
        raise ConfigError("schema: expected `properties` at the root, got none: it constrains nothing.")
    if not any(_required(schema, schema)):
        raise ConfigError("schema: expected at least one `required` property at the root: {} would be an answer.")
    if all(_idle(own) for own in named.values()):
        raise ConfigError("schema: expected a type, or another constraint, of at least one property, got none.")


def _idle(schema: Any) -> bool:
    return schema is True or (isinstance(schema, Mapping) and not set(schema) - _SAYS_NOTHING)


def _nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in the schema, at any depth, but for values given as such."""
    if isinstance(value, Mapping):
        yield value
        for key, item in value.items():
            if key not in ("const", "enum", "default", "examples"):
                yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    """What a reference `#/a/b` points at; None where there is nothing."""
    value: Any = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _resolved(schema: Any, root: Mapping[str, Any], depth: int = 16) -> Mapping[str, Any]:
    """The schema with its own reference, and that one's, followed; what stands beside a reference wins."""
    if not isinstance(schema, Mapping):
        return {}
    if "$ref" not in schema or not depth:
        return schema
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return {**_resolved(_target(schema["$ref"], root), root, depth - 1), **beside}


def _branches(schema: Any, root: Mapping[str, Any], depth: int = 8) -> Iterator[Mapping[str, Any]]:
    """The schema and all of its alternatives and parts, references followed."""
    own = _resolved(schema, root)
    yield own
    for word in _BRANCHES if depth else ():
        for part in own.get(word, ()):
            yield from _branches(part, root, depth - 1)


def _properties(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for branch in _branches(schema, root):
        for key, own in branch.get("properties", {}).items():
            found.setdefault(key, own)
    return found


def _required(schema: Any, root: Mapping[str, Any]) -> list[str]:
    return [key for branch in _branches(schema, root) for key in branch.get("required", ())]


def _item(schema: Any, index: int, root: Mapping[str, Any]) -> Any:
    """The schema of an array's item."""
    for branch in _branches(schema, root):
        first = branch.get("prefixItems", ())
        if index < len(first):
            return first[index]
        if "items" in branch:
            return branch["items"]
    return True
