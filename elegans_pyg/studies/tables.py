"""Results to read: tables and notes on the terminal, as plain text and as Markdown. All of it fits the width, and no word is broken."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd

    from elegans_pyg.analysis.compare import Comparison
    from elegans_pyg.analysis.relate import Relation

WIDTH, TOP = 80, 10
"""Width of what goes into a file or another program, and rows printed of a table that a file has whole."""

MISSING = "–"
_GAP = 2


def show(*parts: RenderableType) -> None:
    """Print tables and texts to standard output, as wide as the terminal, or 80 columns wide where there is none."""
    console = Console()
    _print(console if console.is_terminal else Console(width=WIDTH), parts)


def to_text(*parts: RenderableType, width: int = WIDTH) -> str:
    """What :func:`show` prints, as plain text of that width."""
    buffer = StringIO()
    _print(Console(file=buffer, width=width, color_system=None, force_terminal=False, legacy_windows=False), parts)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def to_plain(*parts: RenderableType) -> list[dict[str, Any]]:
    """What :func:`show` prints as plain values: of a table its ``title``, ``headings``, ``rows``, and which columns are ``words``; of the
    notes of :func:`bullets` a list ``notes``; of anything else its ``text``."""
    plain: list[dict[str, Any]] = []
    for part in _flat(parts):
        if not isinstance(part, Table):
            plain.append({"text": str(part)})
        elif part.box is None:
            plain.append({"notes": [str(note) for note in part.columns[-1].cells] if part.columns else []})
        else:
            rows = [[" ".join(str(cell).split()) for cell in row] for row in zip(*(column.cells for column in part.columns), strict=True)]
            headings = [str(column.header) for column in part.columns]
            words = [column.justify == "left" for column in part.columns]
            plain.append({"title": str(part.title or ""), "headings": headings, "rows": rows, "words": words})
    return plain


def to_markdown(*parts: RenderableType) -> str:
    """GitHub's tables, without their titles, and the notes of :func:`bullets` as lists."""
    blocks = []
    for part in to_plain(*parts):
        if "rows" in part:
            rules = ["---" if words else "---:" for words in part["words"]]
            rows = [[cell.replace("|", "\\|") for cell in row] for row in (part["headings"], rules, *part["rows"])]
            blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
        else:
            blocks.append("\n".join(f"- {note}" for note in part["notes"]) if "notes" in part else part["text"])
    return "\n\n".join(blocks) + "\n"


def between_marks(page: str, texts: Mapping[str, str]) -> str:
    """The Markdown page with each text between its marks, ``<!-- name -->`` and ``<!-- end of name -->``."""
    for name, text in texts.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not mark or not end:
            raise ValueError(f"page: expected the marks of {name!r}, got none; put them back")
        page = f"{before}{mark}\n{text.strip()}\n\n{end}{after}"
    return page


def make_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> Table:
    """A table of texts whose first ``left`` columns are words, to the left, and whose others are numbers, to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def bullets(notes: Iterable[str]) -> Table:
    """Notes as a list."""
    table = Table.grid(padding=(0, 1), pad_edge=False, collapse_padding=True)
    for note in notes:
        table.add_row(Text("•"), Text(note))
    return table


def score_name(task: str, metric: str) -> str:
    """What a task's score is called, such as ``parity accuracy``, or ``memory capacity`` of the task ``memory``."""
    return metric if task in metric else f"{task} {metric}"


def mean_and_sd(mean: float, sd: float, digits: int = 2, scale: float = 1) -> str:
    """Mean and standard deviation; of a single run there is none, but NaN."""
    return f"{scale * mean:.{digits}f}" + ("" if math.isnan(sd) else f" ± {scale * sd:.{digits}f}")


def stopped_notes(rows: pd.DataFrame, what: str = "Unit") -> list[str]:
    """A note for each unit whose training was stopped."""
    return [f"{what} {row.variant} ({row.family}) was stopped: {row.stopped}." for row in rows.itertuples() if row.stopped]


def fit_table(table: Table, width: int) -> Group:
    """The table in as many parts, one below the other, as it takes to fit; every part begins with the columns that tell the rows apart.

    Words, in cells to the left and in headings, wrap at spaces. Numbers, in cells to the right, do not wrap. Only a word that is longer
    than the whole width is broken.

    Args:
        table: of texts.
        width: columns that there are.
    """
    keys = _count_keys(table)
    least, most = map(list, zip(*(_widths(column, width, table.show_header) for column in table.columns), strict=True))
    fixed = sum(least[:keys]) + _GAP * (keys - 1)
    least = [*least[:keys], *(min(size, max(width - fixed - _GAP, 1)) for size in least[keys:])]
    chunks: list[list[int]] = [[]]
    for number in range(keys, len(table.columns)):
        used = fixed + sum(least[other] + _GAP for other in chunks[-1])
        if chunks[-1] and used + _GAP + least[number] > width:
            chunks.append([])
        chunks[-1].append(number)
    parts: list[RenderableType] = [] if table.title is None else [_text(table.title, "table.title")]
    for chunk in chunks:
        chosen = [*range(keys), *chunk]
        spare = max(0, width - sum(least[number] for number in chosen) - _GAP * (len(chosen) - 1))
        room = dict(zip(chosen, (least[number] for number in chosen), strict=True))
        for place, number in enumerate(sorted(chosen, key=lambda number: most[number] - least[number])):
            extra = min(most[number] - least[number], spare // (len(chosen) - place))
            room[number], spare = least[number] + extra, spare - extra
        part = Table(box=box.SIMPLE_HEAD, show_header=table.show_header, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        for number in chosen:
            part.add_column(table.columns[number].header, justify=table.columns[number].justify, width=room[number], overflow="fold")
        for cells, row in zip(zip(*(table.columns[number].cells for number in chosen), strict=True), table.rows, strict=True):
            part.add_row(*cells, style=row.style, end_section=row.end_section)
        parts += [part, ""]
    return Group(*parts)


def comparison_table(comparison: Comparison) -> Group:
    """Families against the reference, and the notes."""
    scale, digits, percent, unit = (100, 2, " %", " pp") if comparison.share else (1, 3, "", "")
    value, signed, interval = comparison.value, f"+.{digits}f", f"{100 * comparison.confidence:g} %"
    columns = {
        "family": lambda row: row["family"],
        "runs": lambda row: str(row["runs"]),
        f"{value}{percent} ± SD": lambda row: _numbers(row, ("mean", "sd")[: 1 + (row["sd"] is not None)], f".{digits}f", scale, " ± "),
        f"{interval} (bootstrap)": lambda row: _numbers(row, ("low", "high"), f".{digits}f", scale, "–"),
        f"family minus {comparison.reference}{unit}": lambda row: _numbers(row, ("difference",), signed, scale),
        f"its {interval} (bootstrap)": lambda row: _numbers(row, ("difference_low", "difference_high"), signed, scale),
        "p": lambda row: _p_value(row["p"]),
        "p (Holm)": lambda row: _p_value(row["p_holm"]),
        "Cliff δ": lambda row: _numbers(row, ("delta",)),
        f"n for {comparison.small}": lambda row: _numbers(row, ("needed_small",), ","),
    }
    title = f"{value[:1].upper()}{value[1:]} by family, compared with {comparison.reference}"
    families = comparison.to_dict()["families"]
    parts = [_table_of(title, columns, families), _verdict_table(comparison, families[1:])]
    ranks = {
        "family": lambda row: row["family"],
        "rank": lambda row: f"{row['rank']} of {row['n'] + 1}",
        f"{comparison.reference} minus family, SD of wirings": lambda row: _numbers(row, ("effect",)),
        f"its {interval} (t)": lambda row: _numbers(row, ("effect_low", "effect_high")),
        "p": lambda row: _p_value(row["p_rank"]),
        "p (Holm)": lambda row: _p_value(row["p_rank_holm"]),
    }
    if ranked := [row for row in families if row["rank"] is not None]:
        parts.append(_table_of(f"Rank of {comparison.reference} among the wirings of a family", ranks, ranked))
    return Group(*parts, bullets(comparison.notes))


def _verdict_table(comparison: Comparison, families: Sequence[Mapping[str, Any]]) -> Table:
    """Different, equal within the margin, undecided or not tested, and how many more."""
    scale, digits, unit = (100, 2, " pp") if comparison.share else (1, 3, "")
    columns = {
        "family": lambda row: row["family"],
        "verdict": lambda row: row["verdict"],
        "more": lambda row: _numbers(row, ("more",), ","),
        "p different": lambda row: _p_value(row["p_holm"]),
    }
    title = "Different or undecided"
    if comparison.margin is not None:
        title = f"Different, equal within {scale * comparison.margin:g}{unit}, or undecided"
        columns |= {
            "p equal": lambda row: _p_value(row["p_equal_holm"]),
            f"90 % (t) for equality{unit}": lambda row: _numbers(row, ("equal_low", "equal_high"), f"+.{digits}f", scale),
        }
    return _table_of(title, columns, families, left=2)


def relation_table(relation: Relation, top: int | None = None) -> Group:
    """Measures against the value, by default all, or else the ``top`` strongest; the models where there are any; and the notes."""
    content = relation.to_dict()
    measures = {
        "measure": lambda row: row["measure"],
        "rho": lambda row: _numbers(row, ("rho",)),
        "interval": lambda row: _numbers(row, ("low", "high")),
        "p": lambda row: _p_value(row["p"]),
        "p (Holm)": lambda row: _p_value(row["p_holm"]),
        "rho in family": lambda row: _numbers(row, ("rho_within",)),
        "p in family": lambda row: _p_value(row["p_within"]),
        "p in family (Holm)": lambda row: _p_value(row["p_within_holm"]),
        "ridge pp": lambda row: _numbers(row, ("ridge",), scale=100),
        "forest": lambda row: _numbers(row, ("forest",)),
    }
    models = {
        "model": lambda row: row["model"],
        "Q² ± SD": lambda row: f"{row['q2']:+.2f} ± {row['q2_sd']:.2f}",
        "rank correlation": lambda row: _numbers(row, ("rank",)),
        "mean error, pp": lambda row: _numbers(row, ("error",), ".2f", 100),
    }
    parts = [_table_of(f"{relation.value.capitalize()} and structure", measures, content["measures"][:top])]
    if content["models"]:
        parts.append(_table_of("Predicted on unseen wirings", models, content["models"]))
    return Group(*parts, bullets(relation.notes))


def _table_of(title: str, columns: Mapping[str, Callable[[Any], str]], rows: Iterable[Any], left: int = 1) -> Table:
    return make_table(title, list(columns), [[cell(row) for cell in columns.values()] for row in rows], left)


def _numbers(row: Mapping[str, Any], names: Sequence[str], kind: str = "+.2f", scale: float = 1, between: str = ", ") -> str:
    """Numbers of a row, each formatted; a dash if the first is missing."""
    return MISSING if row[names[0]] is None else between.join(f"{scale * row[name]:{kind}}" for name in names)


def _print(console: Console, parts: Iterable[RenderableType]) -> None:
    for part in _flat(parts):
        fitted = fit_table(part, console.width) if isinstance(part, Table) and part.box is not None and part.columns else part
        console.print(fitted, highlight=False)


def _flat(parts: Iterable[RenderableType]) -> Iterable[RenderableType]:
    for part in parts:
        if isinstance(part, Group):
            yield from _flat(part.renderables)
        else:
            yield part


def _text(cell: Any, style: str = "") -> Text:
    text = cell.copy() if isinstance(cell, Text) else Text.from_markup(str(cell))
    text.style = style or text.style
    return text


def _widths(column: Column, width: int, show_header: bool) -> tuple[int, int]:
    """Least and most room that a column can use."""
    cells = [_text(cell).plain for cell in column.cells]
    header = [_text(column.header).plain] if show_header else []
    words = max((cell_len(word) for text in (*cells, *header) for word in text.split()), default=1)
    lines = max((cell_len(line) for text in cells for line in text.splitlines()), default=1)
    least = max(words, lines) if column.justify == "right" and lines <= width // 2 else words
    return least, max(least, lines, *(cell_len(line) for text in header for line in text.splitlines()))


def _count_keys(table: Table) -> int:
    """How many of the first columns tell the rows apart; 1 if two do not."""
    rows = list(zip(*([_text(cell).plain for cell in column.cells] for column in table.columns), strict=True))
    return next((keys for keys in range(1, 3) if len({row[:keys] for row in rows}) == len(rows)), 1)


def _p_value(p: float | None) -> str:
    if p is None:
        return MISSING
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
