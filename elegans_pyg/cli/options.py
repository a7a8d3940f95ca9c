"""Options that several commands have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NETWORK, TRAINING, RUN = "Wiring and network", "Images and training", "Run"

ConnectomeOption = Annotated[
    str | None,
    typer.Option("--connectome", metavar="NAME|FILE", help="Connectome by name, or a GraphML or CSV file.", rich_help_panel=NETWORK),
]
FamiliesOption = Annotated[
    str | None,
    typer.Option("--families", metavar="F,F,...", help="Families of control wirings, such as ws,er,ba,rewired.", rich_help_panel=NETWORK),
]
SeedsOption = Annotated[
    int | None, typer.Option("--seeds", metavar="N", help="Runs of the connectome, each from its own seed.", rich_help_panel=NETWORK)
]
VariantsOption = Annotated[
    int | None, typer.Option("--variants", metavar="N", help="Wirings drawn from each family.", rich_help_panel=NETWORK)
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", help="Start of all seeds: wirings, first parameters, order of images.", rich_help_panel=NETWORK),
]
MatchOption = Annotated[
    str | None,
    typer.Option("--match", metavar="dag", help="Fit the DAG edge count of ws, er, ba to the connectome's.", rich_help_panel=NETWORK),
]
FamilyOptions = Annotated[
    list[str] | None,
    typer.Option("--family-option", metavar="F.NAME=VALUE", help="Such as rewired.fraction=0.5; may be repeated.", rich_help_panel=NETWORK),
]
ChannelsOption = Annotated[int | None, typer.Option("--channels", metavar="N", help="Feature maps per neuron.", rich_help_panel=NETWORK)]
ExecutorOption = Annotated[
    str | None, typer.Option("--executor", metavar="NAME", help="Code that walks the DAGs; see info.", rich_help_panel=NETWORK)
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME|FOLDER", help="Images by name (see info), or a folder of them.", rich_help_panel=TRAINING),
]
ImageRootOption = Annotated[
    str | None,
    typer.Option(
        "--image-root", metavar="FOLDER", help="Folder that holds image sets by name, read before any download.", rich_help_panel=TRAINING
    ),
]
IterationsOption = Annotated[
    int | None,
    typer.Option(
        "--iterations", metavar="N", help="Optimiser steps; the learning rate schedule keeps its proportions.", rich_help_panel=TRAINING
    ),
]
BatchSizeOption = Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Images a step.", rich_help_panel=TRAINING)]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:<number>.", rich_help_panel=TRAINING)
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Run folder (default: a new one in runs/).", rich_help_panel=RUN)
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings in YAML, such as a run's config.yaml; options override them.", rich_help_panel=RUN
    ),
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.", rich_help_panel=RUN)]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.", rich_help_panel=RUN)]
