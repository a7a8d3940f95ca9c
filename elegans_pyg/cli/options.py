"""Command-line options made from settings classes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from cyclopts import Group, Parameter, Token
from pydantic.fields import FieldInfo

from elegans_pyg._settings import Settings, bounds, choices

RUN = Group("Run", sort_key=90)
QUIET = Annotated[bool, Parameter(name=["--quiet", "-q"], help="Show no progress.", group=RUN, negative=(), show_default=False)]


def settings_options(kind: type[Settings], defaults: Settings) -> list[inspect.Parameter]:
    """One keyword-only parameter per setting, ``None`` where it is not given; help and bounds come from the settings class."""
    parameters, groups = [], dict[str, Group]()
    for name, (path, info) in kind.flat_fields().items():
        title, default, plain = _group(kind, path), _shown(reduce(getattr, path, defaults)), _kind(info)
        meaning = filter(None, [(info.description or "").rstrip("."), "" if choices(info.annotation) else bounds(info)])
        option = Parameter(
            name=f"--{option_name(name)}",
            help=f"{'; '.join(meaning)}. [{default}]",
            group=groups.setdefault(title, Group(title, sort_key=10 + len(groups))),
            show_default=False,
            negative=() if plain is not bool else None,
            converter=whole if plain is int else None,
        )
        shown: Any = Literal[choices(info.annotation)] if plain is Literal else {tuple: str, dict: list[str]}.get(plain, plain)
        parameters.append(parameter(name, Annotated[shown | None, option], None))
    return parameters


def whole(kind: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number; cyclopts itself would read 1.5 as 1."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f'unable to convert "{tokens[0].value[:60]}" into int') from None


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def shape(command: Callable[..., None], name: str, text: str, parameters: list[inspect.Parameter]) -> None:
    """Give a function that takes ``**values`` the parameters and the help of a command."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    command.__name__, command.__doc__ = name.replace("-", "_"), text


def given_settings(kind: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings given among a command's arguments, with lists and mappings parsed from their text; a tuple holds positional arguments.
    Raises ``ValueError`` if a text cannot be parsed."""
    given = {name: values[name] for name in kind.flat_fields() if values.get(name) is not None}
    for name, value in given.items():
        info, option = kind.flat_fields()[name][1], option_name(name)
        if _kind(info) is dict:
            given[name] = _mapping(option, value)
        elif _kind(info) is tuple:
            parts = value if isinstance(value, tuple) else str(value).split(",")
            given[name] = [_member(option, info, part.strip()) for part in parts if part.strip()]
        elif isinstance(value, tuple):
            if len(value) > 1:
                raise ValueError(f"{option}: expected one value, got {len(value)} ({', '.join(value)[:60]}); give one")
            given[name] = value[0]
    return given


def option_name(name: str) -> str:
    """The option's name of a setting; the option of a mapping takes one entry and can be repeated."""
    return name.replace("_", "-") if name != "family_options" else "family-option"


def _group(kind: type[Settings], path: tuple[str, ...]) -> str:
    if len(path) == 2:
        return path[0].capitalize()
    owner = next(base for base in reversed(kind.__mro__) if path[0] in getattr(base, "model_fields", {}))
    return getattr(owner, "group", "Settings")


def _shown(value: Any) -> str:
    if value in (None, (), {}):
        return "none"
    if isinstance(value, tuple):
        text = ",".join(map(_shown, value))
        return text if len(text) <= 60 else f"{text[:50]}..."
    return str(value).lower() if isinstance(value, bool) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _kind(info: FieldInfo) -> Any:
    """The plain type of a setting, without ``None`` and annotations."""
    found = _members(info.annotation)
    return get_origin(found[0]) or found[0]


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (tuple, dict, Literal) or not get_args(annotation):
        return [annotation]
    return [inner for part in get_args(annotation) if part is not type(None) for inner in _members(part)]


def _member(name: str, info: FieldInfo, text: str) -> Any:
    kind = _members(get_args(_members(info.annotation)[0])[0])[0]
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError as error:
        raise ValueError(f"{name}: expected numbers separated by commas, got {text[:60]!r}; write for example 0.5,0.9") from error


def _mapping(name: str, texts: list[str]) -> dict[str, dict[str, Any]]:
    options: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        family, _, option = key.partition(".")
        if not (equals and family and option and value):
            raise ValueError(f"{name}: expected FAMILY.NAME=VALUE, such as rewired.fraction=0.5, got {text[:60]!r}; write it so")
        try:
            options.setdefault(family, {})[option] = yaml.safe_load(value) if len(value) < 40 else value
        except yaml.YAMLError as error:
            raise ValueError(f"{name}: expected a number after '=', got {value!r}; correct it") from error
    return options
