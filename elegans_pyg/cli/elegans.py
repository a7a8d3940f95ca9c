"""ElegansNet's two models: the autoencoder M2 and the classifier M1."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from elegans_pyg.cli.app import reproduce_app, show
from elegans_pyg.cli.errors import INTERRUPTED
from elegans_pyg.cli.options import (
    NETWORK,
    RUN,
    TRAINING,
    BatchSizeOption,
    DatasetOption,
    DeviceOption,
    FamiliesOption,
    ImageRootOption,
    IterationsOption,
    OutOption,
    QuietOption,
    ResumeOption,
    SeedOption,
    SeedsOption,
    VariantsOption,
)

if TYPE_CHECKING:
    from elegans_pyg.recipes.elegans import ElegansConfig

Settings = TypeVar("Settings", bound="ElegansConfig")
ConnectomeNameOption = Annotated[
    str | None,
    typer.Option("--connectome", metavar="NAME", help="Connectome by name, with both kinds of synapses.", rich_help_panel=NETWORK),
]
WidthOption = Annotated[int | None, typer.Option("--width", metavar="N", help="Width of the tensors.", rich_help_panel=NETWORK)]
AtOnceOption = Annotated[
    int | None,
    typer.Option("--at-once", metavar="N", help="Variants trained side by side; others follow. 0: all.", rich_help_panel=TRAINING),
]
QuickOption = Annotated[bool, typer.Option("--quick", help="A shortened form, for two CPU cores.", rich_help_panel=RUN)]
_TRAINING = ("iterations", "batch_size", "device")


@reproduce_app.command("elegans-m2")
def elegans_m2(
    ctx: typer.Context,
    connectome: ConnectomeNameOption = None,
    families: FamiliesOption = None,
    seeds: SeedsOption = None,
    variants: VariantsOption = None,
    seed: SeedOption = None,
    width: WidthOption = None,
    at_once: AtOnceOption = None,
    dataset: DatasetOption = None,
    image_root: ImageRootOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    quick: QuickOption = False,
    out: OutOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """ElegansNet M2 (2023): autoencoders of binarised MNIST with the connectome in the middle.

    Connectome, echo version (frozen), rewired and generated wirings, and the same autoencoder with dense layers of as many parameters. In
    full, width 784 and 40,000 iterations, for hours on a GPU; --quick, or --width, --iterations and the like, shorten it.
    """
    from elegans_pyg.recipes.elegans_m2 import elegans_m2_config, reproduce

    settings = _settings(ctx.params, elegans_m2_config(quick, width))
    done = _execute(reproduce, settings, "elegans-m2", ctx.params)
    _finish(done)


@reproduce_app.command("elegans-m1")
def elegans_m1(
    ctx: typer.Context,
    connectome: ConnectomeNameOption = None,
    families: FamiliesOption = None,
    seeds: SeedsOption = None,
    variants: VariantsOption = None,
    seed: SeedOption = None,
    width: WidthOption = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="NAME", help="resnet9, or a timm model's name.", rich_help_panel=NETWORK)
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Safetensors file with a timm encoder's parameters.", rich_help_panel=NETWORK),
    ] = None,
    at_once: AtOnceOption = None,
    dataset: DatasetOption = None,
    image_root: ImageRootOption = None,
    iterations: IterationsOption = None,
    batch_size: BatchSizeOption = None,
    device: DeviceOption = None,
    quick: QuickOption = False,
    out: OutOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """ElegansNet M1 (2023): CIFAR classifiers with the connectome between encoder and classes.

    Connectome, reservoir (frozen), rewired and generated wirings, and as controls the bare encoder and a dense head of as many parameters.
    --dataset cifar10 (the default) or cifar100. In full for a GPU; --quick is for two CPU cores.
    """
    from elegans_pyg.recipes.elegans_m1 import elegans_m1_config, reproduce

    settings = _settings(ctx.params, elegans_m1_config(quick, device or "auto"))
    done = _execute(reproduce, settings, "elegans-m1", ctx.params)
    _finish(done)


def _settings(params: dict[str, Any], base: Settings) -> Settings:
    """``base`` with the options given, or, to resume, the settings in the run's folder."""
    from elegans_pyg.recipes.elegans import read_config

    given = {name: value for name, value in params.items() if value is not None and name not in ("out", "resume", "quiet", "quick")}
    if "families" in given:
        given["families"] = [name.strip() for name in given["families"].split(",") if name.strip()]
    if "weights" in given:
        given["weights"] = str(given["weights"])
    if "seed" in given:
        given["training"] = {"data_seed": given["seed"]}
    for name in _TRAINING:
        if name in given:
            given.setdefault("training", {})[name] = given.pop(name)
    if not params["resume"]:
        return base.updated(given)
    if params["out"] is None:
        raise ValueError("out: expected the folder of the run to resume, got none; give it with --out")
    settings = read_config(base, params["out"])
    changed = settings.updated(given)
    if changed.updated({"training": {"device": settings.training.device}}) != settings:
        raise ValueError("resume: a run goes on with the settings in its folder, and others were given; leave out all options but --device")
    return changed


def _execute(reproduce: Callable[..., Any], config: ElegansConfig, command: str, params: dict[str, Any]) -> Any:
    """Run, in the folder asked for or a new one; on Ctrl-C say how to go on."""
    from elegans_pyg.recipes.run_folder import RunFolder

    new = params["out"] is None
    folder = RunFolder.free(command) if new else RunFolder(params["out"])
    done = None
    try:
        done = reproduce(config, folder.path, resume=params["resume"], quiet=params["quiet"])
    except KeyboardInterrupt:
        pass
    finally:
        if new:
            folder.remove_if_empty()
    if done is None and not (folder.path / "config.yaml").is_file():
        print("interrupted; nothing was trained yet, start it again", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    if done is None or done.run.interrupted:
        print(f"interrupted; go on with: elegans-pyg reproduce {command} --resume --out {shlex.quote(str(folder.path))}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    return done


def _finish(done: Any) -> None:
    """The end of a run's output: the answer, what to know about it, and where everything is."""
    run = done.run
    show(done.table())
    for note in done.notes:
        print(f"• {note}")
    show(run.comparison)
    for variant, reason in run.stopped.items():
        print(f"variant {variant} ({run.results['family'].iloc[variant]}) was stopped: {reason}")
    print(f"{len(run.results)} variants took {run.seconds:.0f} s")
    for figure in run.figures:
        print(f"figure: {figure}.png")
    print(f"run folder: {run.out}")
