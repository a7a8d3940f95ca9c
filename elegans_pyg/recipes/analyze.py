"""The structure of one connectome against rewired graphs, or of all wirings of a run, as a table and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text
from torch_geometric.data import Data

from elegans_pyg import plots
from elegans_pyg.analysis import MEASURES, dyads, measures
from elegans_pyg.analysis.null_model import against_null
from elegans_pyg.recipes.config import RunConfig
from elegans_pyg.recipes.relate import wiring_name
from elegans_pyg.recipes.run import build_variants, load_connectome, say
from elegans_pyg.recipes.run_folder import RunFolder
from elegans_pyg.recipes.structure_claims import ALPHA
from elegans_pyg.recipes.sweep import Point, make_graph
from elegans_pyg.recipes.tables import write_table, write_whole


@dataclass(frozen=True)
class Analysis:
    """Measures, and where they are.

    Attributes:
        title: what was measured.
        table: of a connectome: one row a measure, ``measure``, ``value``, and with rewired graphs the rest of
            :func:`~elegans_pyg.analysis.null_model.against_null`. Of a run: one row a variant, ``variant``, ``family``, ``wiring_seed``,
            ``seed``, ``wiring``, and the measures.
        measures: which were taken.
        notes: what a reader has to know.
        file: the table.
        figures: the figures' files, without their suffixes.
    """

    title: str
    table: pd.DataFrame
    measures: list[str]
    notes: list[str]
    file: Path
    figures: list[Path]

    def rendered(self) -> Table:
        """The table for the terminal; of a run, each family's mean and standard deviation over its wirings."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column("measure")
        if "value" in self.table:
            against = "z" in self.table
            for heading in ("value", *(("rewired", "z", "p", "p (Holm)") if against else ()), "unit"):
                table.add_column(heading, justify="left" if heading == "unit" else "right")
            for row in self.table.to_dict("records"):
                cells = [f"{row['value']:,.4g}"]
                if against:
                    cells += [f"{row['mean']:,.4g} ± {row['sd']:.2g}", _missing(row["z"], "+.1f")]
                    cells += [_missing(row["p"], ".2g"), _missing(row["p_holm"], ".2g")]
                table.add_row(row["measure"], *cells, MEASURES[row["measure"]].unit)
            return table
        unique = self.table.drop_duplicates(["family", "wiring"])
        families = unique.groupby("family", sort=False)[self.measures]
        mean, sd, size = families.mean(), families.std(ddof=1), families.size()
        for family in mean.index:
            table.add_column(Text(f"{family}\n({size[family]})"), justify="right")
        for name in self.measures:
            cells = [f"{mean.loc[f, name]:,.4g}" + ("" if size[f] < 2 else f" ± {sd.loc[f, name]:.2g}") for f in mean.index]
            table.add_row(name, *cells)
        return table


def analyze_connectome(
    name: str,
    out: str | Path,
    which: Sequence[str] | None = None,
    *,
    synapses: str = "chemical",
    nulls: int = 100,
    seed: int = 0,
    quiet: bool = False,
) -> Analysis:
    """Measure a connectome and rewired graphs of it.

    Args:
        name: connectome, or a file that :meth:`~elegans_pyg.datasets.Connectome.from_files` reads.
        out: folder for ``measures.parquet`` (or ``.csv``), ``dyads.csv`` and the figures.
        which: measures, see :func:`~elegans_pyg.analysis.measures`.
        synapses: ``"chemical"``, ``"electrical"`` or ``"both"``.
        nulls: wholly rewired graphs, degrees kept; 0 for none.
        seed: of these.
        quiet: show no progress.

    Raises:
        ValueError: for an unknown connectome, measure or kind of synapse, or 1 to 18 rewired graphs.
        FileExistsError: if ``out`` is not empty.
    """
    if nulls and nulls < 19:
        raise ValueError(f"nulls: expected 0, or at least 19, with which p reaches 0.05, got {nulls}; raise it")
    RunFolder(out).check_unused()
    base = load_connectome(name, RunConfig(connectome=name, synapses=synapses))
    point = Point(Path(name).stem, "rewired", 1.0, nulls, "null")
    console = Console(stderr=True)
    numbers = track(range(nulls), "rewiring", console=console, disable=quiet or not console.is_terminal, transient=True)
    graphs = [base, *(make_graph(point, number, base, seed) for number in numbers)]
    found = measures(graphs, which, seed=seed, progress=not quiet)
    names = [str(column) for column in found.columns]
    observed, null = found.iloc[0], found.iloc[1:]
    table = against_null(observed, null) if nulls else pd.DataFrame({"measure": names, "value": observed.to_numpy()})
    pairs = dyads(base)
    folder = Path(out).expanduser()
    figures = {"type-pairs": plots.type_pairs(pairs)}
    notes = []
    if nulls:
        tested = int(table["p"].notna().sum())
        notes.append(
            f"Against {nulls} graphs with every neuron's degrees kept (Rewired); p by permutation, Holm's correction over {tested}."
        )
        if tested > ALPHA * (nulls + 1):
            needed = round(tested / ALPHA) - 1
            notes.append(f"No measure can reach {ALPHA:g} after Holm's correction with {nulls} graphs: {needed:,} are needed (--nulls).")
        if table["z"].notna().any():
            figures["scores"] = plots.score_dots(table)
    return _write(folder, Analysis(f"{name}, {synapses} synapses", table, names, notes, folder, []), figures, pairs)


def analyze_run(run: str | Path, out: str | Path, which: Sequence[str] | None = None, *, seed: int = 0, quiet: bool = False) -> Analysis:
    """Measure the DAGs of all variants of a run, finished or not; arguments as of :func:`analyze_connectome`.

    Raises:
        FileNotFoundError: if the folder is no run folder.
        FileExistsError: if ``out`` is not empty.
    """
    config = RunFolder(run).read_config()
    RunFolder(out).check_unused()
    batch, variants = build_variants(config, progress=not quiet)
    graphs: list[Data] = batch.to_data_list()
    variants["wiring"] = [wiring_name(graph) for graph in graphs]
    if not quiet:
        say(f"{len(variants)} variants, {variants['wiring'].nunique()} wirings")
    found = measures(graphs, which, seed=seed, progress=not quiet)
    names = [str(column) for column in found.columns]
    table = pd.concat([variants.reset_index(drop=True), found], axis=1)
    folder = Path(out).expanduser()
    figures = {}
    if variants["wiring"].nunique() > 1:
        figures["families"] = plots.measures_by_family(table.drop_duplicates(["family", "wiring"]), names)
    notes = ["Measures of the DAGs that were trained; mean and standard deviation over each family's wirings, their number in brackets."]
    return _write(folder, Analysis(f"Wirings of {run}", table, names, notes, folder, []), figures, None)


def _write(folder: Path, analysis: Analysis, figures: dict[str, Figure], pairs: pd.DataFrame | None) -> Analysis:
    file = write_table(folder / "measures", analysis.table)
    if pairs is not None:
        write_whole(folder / "dyads.csv", pairs.to_csv(index=False).encode())
    for label, figure in figures.items():
        plots.save(figure, folder / "figures" / label)
    drawn = [folder / "figures" / label for label in figures]
    return Analysis(analysis.title, analysis.table, analysis.measures, analysis.notes, file, drawn)


def _missing(number: float, form: str) -> str:
    return "–" if pd.isna(number) else format(number, form)
