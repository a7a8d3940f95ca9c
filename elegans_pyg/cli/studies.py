"""The commands that run studies; their options come from the settings classes."""

import inspect
import re
import shlex
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from elegans_pyg._progress import counted
from elegans_pyg.cli.app import app, reproduce_app
from elegans_pyg.cli.options import QUIET, RUN, given_settings, parameter, settings_options, shape, whole
from elegans_pyg.studies.registry import RECIPES, find
from elegans_pyg.studies.study import Interrupted, Study


def _option(kind: Any, text: str) -> Any:
    converter, negative = whole if kind is int else None, () if kind is bool else None
    annotation = bool if kind is bool else kind | None
    return Annotated[annotation, Parameter(help=text, group=RUN, show_default=False, converter=converter, negative=negative)]


RUN_OPTIONS = {
    "out": (_option(Path, "Run folder (default: a new one in runs/)."), None),
    "config": (_option(Path, "Settings in YAML, such as a run's config.yaml; options override them."), None),
    "resume": (_option(bool, "Resume the run in --out."), False),
    "engine": (_option(Literal["local", "ray"], "What runs the shards: this machine, or Ray (extra cluster). [local]"), None),
    "address": (_option(str, "Address of a Ray cluster (default: start one on this machine)."), None),
    "cpus": (_option(int, "Cores per Ray task (default: one, or all where a shard uses them)."), None),
    "workers": (_option(int, "Processes, or Ray tasks, at a time (default: one per core)."), None),
    "shard": (_option(str, "I/N: run only the I-th of N shards, for job arrays; then run elegans-pyg join FOLDER."), None),
    "quiet": (QUIET, False),
}


def add_study(study: Study[Any]) -> None:
    """Add a command with the study's name and an option for every setting."""
    run_options = [parameter(key, *value) for key, value in RUN_OPTIONS.items()]
    if study.quick:
        run_options.insert(2, parameter("quick", _option(bool, study.quick), False))

    def command(*places: str, **values: Any) -> None:
        given = {str(study.places): places} if places else {}
        run_command(study, {key: default for key, (_, default) in RUN_OPTIONS.items()} | values | given)

    parameters = [*settings_options(study.settings, study.defaults()), *run_options]
    if study.places:
        hint = Parameter(help=study.settings.model_fields[study.places].description or "", show_default=False)
        places = inspect.Parameter(study.places, inspect.Parameter.VAR_POSITIONAL, annotation=Annotated[str, hint])
        parameters = [places, *(item for item in parameters if item.name != study.places)]
    shape(command, study.short_name, study.text, parameters)
    (reproduce_app if study.name.startswith("reproduce ") else app).command(command, name=study.short_name)


def run_command(study: Study[Any], values: dict[str, Any]) -> None:
    """Run a study with the values of its command line, and print the result."""
    with _loading(values["quiet"]):
        from elegans_pyg.studies.folder import RunFolder
        from elegans_pyg.studies.run import run_array_shard, run_study

        settings = _settings(study, values)
    shard, out = values["shard"], values["out"]
    if shard is not None:
        if not re.fullmatch(r"\d{1,9}/\d{1,9}", shard):
            raise ValueError(f"shard: expected I/N, such as 3/100, got {shard[:40]!r}; write it so")
        if out is None:
            raise ValueError("out: expected --out with the run folder that all shards share, got none; add it")
        for name in ("engine", "address", "cpus", "workers"):
            if values[name] is not None:
                raise ValueError(f"{name}: a job of an array runs one shard in its own process, so --{name} does nothing; leave it out")
        number, count = map(int, shard.split("/"))
        run_array_shard(study, settings, out, number, count, quiet=values["quiet"])
        print(f"shard {number} of {count} is done; once all are, run: elegans-pyg join {shlex.quote(str(out))}")
        return
    folder = RunFolder.free(study.short_name) if out is None else RunFolder(out)
    options = {name: values[name] for name in ("quiet", "workers", "address", "cpus")}
    try:
        result = run_study(study, settings, folder.path, values["engine"] or "local", values["resume"], tell=print_findings, **options)
    except KeyboardInterrupt as interrupt:
        remedy = "nothing was done yet, start it again"
        if folder.started():
            remedy = f"resume with: elegans-pyg {study.name} --resume --out {shlex.quote(str(folder.path))}"
        print(f"interrupted; {remedy}", file=sys.stderr)
        raise Interrupted(getattr(interrupt, "signum", 2)) from None
    finally:
        if out is None and folder.path.is_dir() and not any(folder.path.iterdir()):
            folder.path.rmdir()
    print_files(study, result)


def _loading(quiet: bool) -> AbstractContextManager[Any]:
    """Says on a terminal that libraries are loaded, which takes seconds, the first time on a machine more."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status("Loading PyTorch and PyTorch Geometric")


def print_findings(report: Any) -> None:
    """Print the tables and notes of a report."""
    from elegans_pyg.studies.tables import show

    show(*report.tables)
    for note in report.notes:
        show(f"• {note}")
    sys.stdout.flush()


def print_files(study: Study[Any], result: Any) -> None:
    """Print what a run took, the files written, and the command that repeats it."""
    print(f"{counted(len(result.results), 'unit')} took {result.seconds:,.0f} s")
    for figure in result.figures:
        print(f"figure: {figure}.png")
    print(f"report: {result.out / 'report.html'}")
    print(f"run folder: {result.out}")
    print(f"repeat it:  elegans-pyg {study.name} --config {shlex.quote(str(result.out / 'config.yaml'))}")


def _settings(study: Study[Any], values: dict[str, Any]) -> Any:
    from elegans_pyg.studies.folder import RunFolder

    given = given_settings(study.settings, values)
    if not values["resume"]:
        return study.make(given, config=values["config"], quick=values.get("quick", False))
    if values["out"] is None:
        raise ValueError("resume: expected --out with the folder of the run to resume, got none; add it")
    for name in ("config", "quick"):
        if values.get(name):
            raise ValueError(f"{name}: a resumed run keeps its own settings, so --{name} cannot be used with --resume; leave it out")
    folder = RunFolder(values["out"])
    # A run that was killed at its start has no settings yet.
    killed = folder.path.is_dir() and folder.started() is False
    return study.make(given) if killed else folder.read_config(study).with_flat(given)


for _name in RECIPES:
    add_study(find(_name))
