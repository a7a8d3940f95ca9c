"""Settings: frozen pydantic models, checked once, read from and written to YAML, with errors of one line."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from elegans_pyg._arguments import shown
from elegans_pyg._files import read_bounded

S = TypeVar("S", bound="Settings")
M = TypeVar("M")
LARGEST = 2**53
"""Largest whole number that a setting can be: JSON readers and floats are not exact above it."""
_BYTES, _DEPTH, _NODES = 2**20, 40, 20_000


class Free:
    """Marks a setting that a resumed run may change: it says where and how to compute, not what."""


class Place:
    """Marks a setting that names a file or folder, which is kept as an absolute path if it exists; any other name is kept as it is, and
    so are the ``known`` names of what this package has, whatever a working folder holds."""

    def __init__(self, known: Callable[[], Iterable[str]] = lambda: ()) -> None:
        self.known = known


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
    """Base class of frozen settings. A wrong value raises a ``ValueError`` of one line: the setting, what was expected, what was got.

    ``Field(description=...)`` says what a setting means; ``--help``, ``config.yaml`` and the documentation show it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_one_line(type(self), error)) from None

    def model_copy(self: S, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> S:
        """Return the settings with some replaced, checked again. A mapping given for a group of settings replaces only its own members."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        for name, value in (update or {}).items():
            before = values.get(name)
            values[name] = before.model_copy(update=value) if isinstance(before, Settings) and isinstance(value, Mapping) else value
        return type(self)(**values)

    def with_flat(self: S, options: Mapping[str, Any]) -> S:
        """Return the settings with some replaced; members of a group are named without the group, as on the command line."""
        fields, update = self.flat_fields(), dict[str, Any]()
        for name, value in options.items():
            if name not in fields:
                raise ValueError(f"settings: unknown key {name!r}; choose from {', '.join(fields)}")
            group = fields[name][0][:-1]
            (update.setdefault(group[0], {}) if group else update)[name] = value
        return self.model_copy(update=update)

    def flat(self, fixed: bool = False) -> dict[str, Any]:
        """Return all settings, or the ``fixed`` ones, as plain values by their own names, as :meth:`with_flat` takes them."""
        found: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                found |= value.flat(fixed)
            elif not fixed or _mark(info, Free) is None:
                found[name] = _plain(value)
        return found

    @classmethod
    def flat_fields(cls) -> dict[str, tuple[tuple[str, ...], FieldInfo]]:
        """Return every setting by its own name: its path, ``(name,)`` or ``(group, name)``, and its field."""
        found: dict[str, tuple[tuple[str, ...], FieldInfo]] = {}
        for name, info in cls.model_fields.items():
            if _is_group(info):
                found |= {inner: ((name, inner), own) for inner, own in info.annotation.model_fields.items()}  # type: ignore[union-attr]
            else:
                found[name] = ((name,), info)
        return found

    def with_absolute_paths(self: S) -> S:
        """Return the settings with absolute paths of existing files and folders, so that they repeat the run from any working folder."""
        update: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            place, value = _mark(info, Place), getattr(self, name)
            if place is not None:
                update[name] = _absolute(value, tuple(place.known()))
            elif isinstance(value, Settings):
                update[name] = value.with_absolute_paths()
        return self.model_copy(update=update)

    def fixed(self) -> dict[str, Any]:
        """Return the settings that a result depends on, as plain values: all but those marked :class:`Free`."""
        return {name: _plain(getattr(self, name)) for name, info in type(self).model_fields.items() if _mark(info, Free) is None}

    def to_yaml(self, indent: str = "") -> str:
        """Return all settings as YAML, with their descriptions as comments; :func:`read_yaml` reads them back unchanged."""
        lines: list[str] = []
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                lines += [f"{indent}{name}:\n", value.to_yaml(indent + "  ")]
                continue
            if note := " ".join((info.description or "").split()):
                lines.append(f"{indent}# {note}\n")
            text = yaml.safe_dump([_plain(value)], default_flow_style=True, allow_unicode=True, width=10**6).strip()[1:-1]
            # YAML reads on and off as truth values, so such names are quoted.
            key = yaml.safe_dump([name], default_flow_style=True).strip()[1:-1]
            lines.append(f"{indent}{key}: {text}\n")
        return "".join(lines)


def read_yaml(path: str | Path, what: str = "config") -> dict[str, Any]:
    """Return the mapping in a YAML file of settings; raise ``ValueError`` if it is not an ordinary file or not a YAML mapping, has aliases,
    or is longer or nested more deeply than settings can be."""
    try:
        text = read_bounded(path, what, _BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: {path} is not a text file ({error.reason} at byte {error.start}); give a YAML file") from error
    depth = 0
    try:
        for nodes, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # A few lines of aliases can stand for any amount of memory.
            aliased = isinstance(event, yaml.AliasEvent)
            if aliased or depth > _DEPTH or nodes > _NODES:
                problem = "has aliases" if aliased else "is nested too deeply" if depth > _DEPTH else "is too long"
                raise ValueError(f"{what}: {path} {problem} for settings; write plain 'name: value' lines")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ValueError(f"{what}: {path} is not valid YAML{line} ({problem}); write one 'name: value' per line") from error
    if content is not None and not (isinstance(content, dict) and all(isinstance(key, str) for key in content)):
        kind = type(content).__name__
        raise ValueError(f"{what}: expected a YAML mapping of names in {path}, got a {kind}; write one 'name: value' per line")
    return content or {}


def bounds(info: FieldInfo) -> str:
    """Return the values that a setting may have, in words such as ``at least 1`` or ``a, b, c``; empty if its type says it all."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [(word, getattr(item, key, None)) for key, word in words.items() for item in info.metadata]
    limits = [f"{word} {value:g}" for word, value in found if value is not None and value != LARGEST]
    return " and ".join(limits) or ", ".join(map(str, choices(info.annotation)))


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of the ``Literal`` types anywhere in an annotation."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, UnionType, tuple, Annotated):
        return tuple(choice for part in get_args(annotation) for choice in choices(part))
    return ()


def _absolute(value: Any, known: tuple[str, ...]) -> Any:
    if isinstance(value, tuple):
        return tuple(_absolute(own, known) for own in value)
    if value in known:
        return value
    try:
        path = Path(value).expanduser()
        return str(path.resolve()) if path.exists() else value
    except (OSError, RuntimeError, TypeError, ValueError):
        return value


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.fixed()
    return list(value) if isinstance(value, tuple) else value


def _one_line(model: type[Settings], error: ValidationError) -> str:
    """Describe the first problem: the setting, what was expected, what was got, how to correct it."""
    problem = error.errors()[0]
    kind, context, got = problem["type"], problem.get("ctx", {}), shown(problem["input"])
    where = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-")) or "settings"
    if kind == "extra_forbidden":
        return f"settings: unknown key {problem['loc'][-1]!r}; choose from {', '.join(model.model_fields)}"
    if kind == "value_error":
        text = str(context["error"])
        # The message of a validator of a whole group names the setting itself.
        return text if where == "settings" or _is_group(model.model_fields.get(where)) else f"{where}: {text}"
    if kind == "literal_error":
        return f"{where}: unknown choice {got}; choose from {context['expected'].replace(' or ', ', ').replace(chr(39), '')}"
    expected = {
        "greater_than_equal": "at least {ge}", "greater_than": "a number above {gt}", "less_than_equal": "at most {le}",
        "less_than": "a number below {lt}", "int_type": "a whole number", "float_type": "a number", "finite_number": "a finite number",
        "bool_type": "true or false", "string_type": "a name", "string_too_short": "a name", "tuple_type": "a list such as [a, b]",
        "dict_type": "a mapping", "too_short": "at least {min_length} values", "int_from_float": "a whole number",
        "model_type": "a mapping of settings",
    }.get(kind)  # fmt: skip
    remedy = "put it in quotes if it looks like a number" if kind == "string_type" else "change it"
    if expected is None:
        return f"{where}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, got {got}; {remedy}"
    limits = {key: f"{LARGEST:,}" if value == LARGEST else str(value).removesuffix(".0") for key, value in context.items()}
    return f"{where}: expected {expected.format(**limits)}, got {got}; {remedy}"


def _is_group(info: FieldInfo | None) -> bool:
    return info is not None and isinstance(info.annotation, type) and issubclass(info.annotation, Settings)


def _mark(info: FieldInfo, kind: type[M]) -> M | None:
    return next((item for item in info.metadata if isinstance(item, kind)), None)
