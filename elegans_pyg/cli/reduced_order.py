"""Reduced-order models of the nervous system: fitting one, and the published experiments."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from elegans_pyg.cli.app import app, reproduce_app, show
from elegans_pyg.cli.errors import INTERRUPTED
from elegans_pyg.cli.options import QuietOption

DATA, MODEL, RUN = "Waveforms", "Model and training", "Run"

EpochsOption = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Epochs of training.", rich_help_panel=MODEL)]
RunsOption = Annotated[int | None, typer.Option("--runs", metavar="N", help="Runs, each from its own seed.", rich_help_panel=MODEL)]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Of the stimuli and the first run.", rich_help_panel=RUN)]
ClipOption = Annotated[
    float | None,
    typer.Option("--clip", metavar="NORM", help="Clip each run's gradient to this norm (default: off).", rich_help_panel=MODEL),
]


@app.command("fit-rnn")
def fit_rnn(
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="NAME", help="fcm, fcm16, fcm-no-avb, fcm-no-ava or nictation.", rich_help_panel=DATA)
    ] = "fcm",
    dt_ms: Annotated[float, typer.Option("--dt", metavar="MS", help="Time between samples.", rich_help_panel=DATA)] = 0.5,
    count: Annotated[int, typer.Option("--count", metavar="N", help="Stimuli.", rich_help_panel=DATA)] = 40,
    amplitude: Annotated[
        float | None, typer.Option("--amplitude", metavar="PA", help="Largest current (default: the scenario's).", rich_help_panel=DATA)
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files",
            metavar="FOLDER",
            help="Waveforms from the .dat files there, in order of name, in place of a scenario; with --inputs and --outputs.",
            rich_help_panel=DATA,
        ),
    ] = None,
    inputs: Annotated[str | None, typer.Option("--inputs", metavar="A,B,...", help="Inputs in --files.", rich_help_panel=DATA)] = None,
    outputs: Annotated[str | None, typer.Option("--outputs", metavar="A,B,...", help="Outputs in --files.", rich_help_panel=DATA)] = None,
    cell: Annotated[str, typer.Option("--cell", metavar="NAME", help="rnn, lstm or gru.", rich_help_panel=MODEL)] = "gru",
    hidden: Annotated[int, typer.Option("--hidden", metavar="N", help="Units of the recurrent layer.", rich_help_panel=MODEL)] = 4,
    epochs: EpochsOption = None,
    runs: RunsOption = None,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", help="Sequences a step.", rich_help_panel=MODEL)] = 32,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", metavar="X", help="Of Adam (default: 0.001 for rnn, 0.05 for lstm and gru).", rich_help_panel=MODEL
        ),
    ] = None,
    clip: ClipOption = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Run folder (default: a new one in runs/); the same fit goes on.", rich_help_panel=RUN
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Fit a small recurrent network to the nervous system: voltages of a few neurons from currents into a few others.

    By default: ten GRUs of 4 units for forward crawling (fcm), 1,000 epochs, some minutes.
    """
    from elegans_pyg.datasets import Waveforms
    from elegans_pyg.recipes.barbulescu_figures import draw_fit
    from elegans_pyg.recipes.reduced_order import fit_runs
    from elegans_pyg.recipes.run_folder import RunFolder
    from elegans_pyg.training.sequences import SequenceFitConfig

    if out is not None and out.exists() and not out.is_dir():
        raise NotADirectoryError(f"out: expected a folder, got the file {out}; give another name")
    config = SequenceFitConfig(1000 if epochs is None else epochs, batch_size, learning_rate, clip)
    if files is None:
        if inputs is not None or outputs is not None:
            raise ValueError("inputs: --inputs and --outputs name the columns of --files, and there is none; leave them out")
        waveforms = Waveforms(scenario, dt_ms, count, seed, amplitude, quiet=quiet)
    else:
        if inputs is None or outputs is None:
            raise ValueError("files: expected --inputs and --outputs with the neurons of the columns; add them")
        found = sorted(files.glob("*.dat"))
        if not found:
            raise FileNotFoundError(f"files: {files} holds no .dat file; give the folder that does")
        waveforms = Waveforms.from_files(found, *([name.strip() for name in part.split(",")] for part in (inputs, outputs)))
    folder = RunFolder.free("fit-rnn") if out is None else RunFolder(out)
    try:
        fit = fit_runs(waveforms, folder.path, cell, hidden, 10 if runs is None else runs, seed, config, quiet=quiet)
    finally:
        if out is None:
            folder.remove_if_empty()
    if fit.interrupted:
        arguments = [argument for argument in sys.argv[2:] if argument not in ("--out", str(out))]
        command = shlex.join(["elegans-pyg", "fit-rnn", *arguments, "--out", str(folder.path)])
        print(f"interrupted; go on with: {command}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    from rich.table import Table

    table = Table(title="RMSE, in units of the widest output's range over the training stimuli", title_justify="left")
    for heading in ("model", "parameters", "runs", "train", "validation", "test", "seconds"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    measured = [fit.rmse(split) for split in ("train", "validation", "test")]
    size = f"{fit.model.parameters_per_replica():,}"
    table.add_row(f"{cell.upper()}-{hidden}", size, str(len(fit.results)), *measured, f"{fit.seconds:,.0f}")
    show(table)
    for name, rows in fit.outputs.groupby("output", sort=False):
        share = f"{rows['rmse'].mean():.2%} of its range" if rows["rmse"].notna().all() else "and it never moves in training"
        print(f"test RMSE of {name}: {rows['rmse_mV'].mean():.3f} mV, {share}")
    for figure in draw_fit(fit, waveforms):
        print(f"figure: {figure}.png")
    print(f"run folder: {folder.path}")


@reproduce_app.command("barbulescu")
def barbulescu(
    experiment: Annotated[int, typer.Option("--experiment", metavar="1..5", help="Which one.", rich_help_panel=RUN)] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="3 runs of 150 epochs: less than 3 minutes.", rich_help_panel=RUN)] = False,
    epochs: EpochsOption = None,
    runs: RunsOption = None,
    clip: ClipOption = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder of all experiments with these settings; what is finished there is read (default: a new one in runs/).",
            rich_help_panel=RUN,
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Barbulescu et al. 2023: recurrent networks in place of the nervous system.

    Experiments: 1 RNN, LSTM, GRU of like size; 2 GRUs of six sizes; 3 sequences of 0.5 and 0.1 ms; 4 models without some inputs; 5 two
    scenarios in one model. By default with the published 10 runs of 1,000 epochs; a run that is stopped goes on where it was.
    """
    from dataclasses import replace

    from elegans_pyg.recipes.barbulescu import QUICK, Settings, reproduce
    from elegans_pyg.recipes.barbulescu_figures import draw_experiment
    from elegans_pyg.recipes.run_folder import RunFolder

    settings = replace(QUICK if quick else Settings(), seed=seed, clip_norm=clip)
    if epochs is not None:
        settings = replace(settings, epochs=epochs)
    if runs is not None:
        settings = replace(settings, runs=runs)
    folder = RunFolder.free("barbulescu") if out is None else RunFolder(out)
    interrupted = True
    try:
        report = None if quiet else lambda line: print(line, file=sys.stderr)
        done = reproduce(experiment, folder.path, settings, quiet=quiet, report=report)
        interrupted = done.interrupted
    except KeyboardInterrupt:
        pass
    finally:
        if out is None:
            folder.remove_if_empty()
    if interrupted:
        options = ["--quick"] * quick + [f"--experiment={experiment}", f"--seed={seed}", f"--out={folder.path}"]
        options += [f"--{name}={value}" for name, value in (("epochs", epochs), ("runs", runs), ("clip", clip)) if value is not None]
        print(f"interrupted; go on with: {shlex.join(['elegans-pyg', 'reproduce', 'barbulescu', *options])}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    for table in done.tables():
        show(table)
    for line in (*done.findings, *done.notes):
        print(f"• {line}")
    for figure in draw_experiment(done, folder.path / "figures"):
        print(f"figure: {figure}.png")
    print(f"run folder: {folder.path}")
