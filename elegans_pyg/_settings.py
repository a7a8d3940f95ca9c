"""Settings: frozen pydantic models, checked once, that read and write YAML and whose errors are one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from elegans_pyg._files import read_bounded

S = TypeVar("S", bound="Settings")
LARGEST = 2**53
"""Largest whole number a setting can be: beyond it, JSON readers and floats are no longer exact."""
_CONFIG_BYTES, _CONFIG_DEPTH, _CONFIG_NODES = 2**20, 40, 20_000


class Free:
    """Marks a setting that a resumed run may change: it says where and how to compute, not what."""


class Place:
    """Marks a setting that names a file or folder (or, where it is none that is there, a name): it is kept as an absolute path."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _unique(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) < len(value):
        raise ValueError(f"expected each value once, got {', '.join(map(str, value))}; leave the repeated ones out")
    return value


Count = Annotated[int, Field(ge=1, le=LARGEST)]
"""A whole number of at least 1."""
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
"""A whole number of at least 0, such as a seed."""
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(_unique)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_tuple), AfterValidator(_unique)]
Counts = Annotated[tuple[Count, ...], BeforeValidator(_as_tuple)]
"""Whole numbers of at least 1, which may repeat."""
Name = Annotated[str, Field(min_length=1)]


class Settings(BaseModel):
    """A frozen set of named values. Wrong ones raise ``ValueError`` in one line: the setting, what was expected, what was got.

    ``Field(description=...)`` says what a setting means, and is shown by ``--help``, in ``config.yaml`` and in the documentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_one_line(type(self), error)) from None

    def model_copy(self: S, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> S:
        """The same settings with some replaced, checked anew. A mapping given for a group of settings replaces its own members only."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        for name, value in (update or {}).items():
            before = values.get(name)
            values[name] = before.model_copy(update=value) if isinstance(before, Settings) and isinstance(value, Mapping) else value
        return type(self)(**values)

    def with_flat(self: S, options: Mapping[str, Any]) -> S:
        """The same settings with some replaced; members of a group are named without the group, as on the command line."""
        update: dict[str, Any] = {}
        for name, value in options.items():
            path = self.flat_fields().get(name)
            if path is None:
                raise ValueError(f"settings: unknown key {name!r}; choose from {', '.join(self.flat_fields())}")
            if len(path[0]) == 2:
                update.setdefault(path[0][0], {})[name] = value
            else:
                update[name] = value
        return self.model_copy(update=update)

    @classmethod
    def flat_fields(cls) -> dict[str, tuple[tuple[str, ...], FieldInfo]]:
        """Every setting by its own name: the way to it, ``(name,)`` or ``(group, name)``, and what is known about it."""
        found: dict[str, tuple[tuple[str, ...], FieldInfo]] = {}
        for name, info in cls.model_fields.items():
            if _is_group(info):
                found |= {inner: ((name, inner), own) for inner, own in info.annotation.model_fields.items()}  # type: ignore[union-attr]
            else:
                found[name] = ((name,), info)
        return found

    def with_absolute_paths(self: S) -> S:
        """The same settings with every file or folder that is there named in full, so that they repeat the run from anywhere."""
        values: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                values[name] = value.with_absolute_paths()
            elif _marked(info, Place) and value is not None:
                values[name] = _absolute(value) if isinstance(value, str) else tuple(_absolute(item) for item in value)
        return self.model_copy(update=values)

    def fixed(self) -> dict[str, Any]:
        """The settings that a result depends on, as plain values: all but those marked :class:`Free`."""
        content: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                content[name] = value.fixed()
            elif not _marked(info, Free):
                content[name] = list(value) if isinstance(value, tuple) else value
        return content

    def to_yaml(self) -> str:
        """All settings as YAML with their meaning as comments, which :func:`read_yaml` reads back equal."""
        return "\n".join(_yaml_lines(self)) + "\n"


def read_yaml(path: str | Path, what: str = "config") -> dict[str, Any]:
    """The mapping in a YAML file of settings.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no ordinary file, no YAML mapping, or larger, deeper or more entangled than settings ever are.
    """
    try:
        text = read_bounded(path, what, _CONFIG_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: {path} is no text file ({error.reason} at byte {error.start}); give a YAML file") from error
    content = parse_yaml(text, f"{what}: {path}")
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        kind = type(content).__name__
        raise ValueError(f"{what}: expected a YAML mapping of names in {path}, got a {kind}; write one 'name: value' a line")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """A YAML text as plain values; aliases are refused, since a few lines of them can stand for any amount of memory."""
    try:
        depth = 0
        for nodes, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _CONFIG_DEPTH or nodes > _CONFIG_NODES:
                problem = (
                    "has aliases"
                    if isinstance(event, yaml.AliasEvent)
                    else "is nested too deep"
                    if depth > _CONFIG_DEPTH
                    else "is too long"
                )
                raise ValueError(f"{where} {problem} for settings; write plain 'name: value' lines")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"{where} is no YAML{line} ({problem}); write one 'name: value' a line") from error


def bounds(info: FieldInfo) -> str:
    """What a setting may be, in words such as ``at least 1`` or ``a, b or c``; empty if its type says it all."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{word} {getattr(item, key):g}"
        for key, word in words.items()
        for item in info.metadata
        if getattr(item, key, None) is not None and getattr(item, key) != LARGEST
    ]
    return " and ".join(limits) or ", ".join(map(str, choices(info.annotation)))


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a ``Literal``, wherever it stands in an annotation."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        return tuple(choice for part in get_args(annotation) for choice in choices(part))
    return ()


def _absolute(name: str) -> str:
    try:
        path = Path(name).expanduser()
        return str(path.resolve()) if path.exists() else name
    except (OSError, RuntimeError, ValueError):
        return name


def _yaml_lines(settings: Settings, indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            lines += [f"{indent}{name}:", *_yaml_lines(value, indent + "  ")]
            continue
        plain = list(value) if isinstance(value, tuple) else value
        text = yaml.safe_dump([plain], default_flow_style=True, allow_unicode=True, width=10**6).strip()[1:-1]
        note = " ".join((info.description or "").split())
        lines += [*([f"{indent}# {note}"] if note else []), f"{indent}{name}: {text}"]
    return lines


def _one_line(model: type[Settings], error: ValidationError) -> str:
    """The first problem in words: the setting, what was expected, what was got, how to mend it."""
    problem = error.errors()[0]
    kind, context, got = problem["type"], problem.get("ctx", {}), problem["input"]
    where = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-")) or "settings"
    shown = repr(got) if len(repr(got)) <= 60 else repr(got)[:57] + "..."
    if kind == "extra_forbidden":
        return f"settings: unknown key {problem['loc'][-1]!r}; choose from {', '.join(model.model_fields)}"
    if kind == "value_error":
        text = str(context["error"])
        # What a validator of a whole group raises names its setting itself.
        return text if where == "settings" or _is_group(model.model_fields.get(where)) else f"{where}: {text}"
    if kind == "literal_error":
        return f"{where}: unknown choice {shown}; choose from {context['expected'].replace(' or ', ', ').replace(chr(39), '')}"
    expected = {
        "greater_than_equal": "at least {ge}", "greater_than": "a number above {gt}", "less_than_equal": "at most {le}",
        "less_than": "a number below {lt}", "int_type": "a whole number", "float_type": "a number", "finite_number": "a finite number",
        "bool_type": "true or false", "string_type": "a name", "string_too_short": "a name", "tuple_type": "a list such as [a, b]",
        "dict_type": "a mapping", "too_short": "at least {min_length} values", "int_from_float": "a whole number",
        "model_type": "a mapping of settings",
    }.get(kind)  # fmt: skip
    remedy = "put it in quotes if it looks like a number" if kind == "string_type" else "change it"
    if expected is None:
        return f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, got {shown}; {remedy}"
    limits = {key: f"{LARGEST:,}" if value == LARGEST else _plain(value) for key, value in context.items()}
    return f"{where}: expected {expected.format(**limits)}, got {shown}; {remedy}"


def _is_group(info: FieldInfo | None) -> bool:
    return info is not None and isinstance(info.annotation, type) and issubclass(info.annotation, Settings)


def _marked(info: FieldInfo, mark: type) -> bool:
    return any(isinstance(item, mark) for item in info.metadata)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and math.isfinite(value) and value == int(value) else value
