"""From the options of a command to the settings of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elegans_pyg.recipes.config import RunConfig

_TRAINING_OPTIONS = ("iterations", "batch_size", "device")
_RUN_OPTIONS = ("out", "config", "resume", "quiet", "family_option")


def settings_from(options: dict[str, Any], default: Callable[[], RunConfig]) -> RunConfig:
    """The settings of a run: the command's own, then those of ``--config`` or of the run to resume, then the options given."""
    from elegans_pyg.recipes.config import RunConfig, read_settings, schedule_for
    from elegans_pyg.recipes.run_folder import RunFolder

    given = {name: value for name, value in options.items() if value is not None and name not in _RUN_OPTIONS}
    training = {name: given.pop(name) for name in _TRAINING_OPTIONS if name in given}
    if options["resume"]:
        if options["out"] is None:
            raise ValueError("resume: expected --out with the folder of the run to go on with; add it")
        if options["config"] is not None:
            raise ValueError("config: a run goes on with its own settings, so --config cannot be used with --resume; leave it out")
        base, written = RunFolder(options["out"]).read_config(), None
    else:
        base = default()
        written = {} if options["config"] is None else read_settings(options["config"])
    if written is not None:
        settings = base.updated(written)
        fixed = written.get("training") or {}
        iterations = training.get("iterations", settings.training.iterations)
        # Only what the file does not fix keeps its proportion to the run's length.
        if iterations != base.training.iterations and isinstance(iterations, int) and iterations > 0:
            training = {**{name: value for name, value in schedule_for(iterations).items() if name not in fixed}, **training}
    else:
        settings = base
    if "seed" in given:
        training["data_seed"] = given["seed"]
    if "families" in given:
        given["families"] = [name.strip() for name in given["families"].split(",") if name.strip()]
    if options.get("family_option"):
        given["family_options"] = _family_options(options["family_option"], settings.family_options)
    return RunConfig.updated(settings, {**given, "training": training})


def _family_options(texts: list[str], before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    import yaml

    options = {family: dict(values) for family, values in before.items()}
    for text in texts:
        name, equals, value = text.partition("=")
        family, dot, option = name.partition(".")
        if not (equals and dot and family and option and value):
            raise ValueError(f"family-option: expected FAMILY.NAME=VALUE, such as rewired.fraction=0.5, got {text!r}; write it so")
        try:
            options.setdefault(family, {})[option] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"family-option: expected a number or a word after '=', got {value!r}; correct it") from error
    return options
