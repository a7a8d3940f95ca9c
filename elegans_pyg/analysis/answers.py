"""What comparisons come to, in sentences that say no more than their tests do."""

from collections.abc import Mapping
from typing import Any

from elegans_pyg.analysis.arms import SINGLE_WIRING
from elegans_pyg.analysis.compare import Comparison
from elegans_pyg.analysis.contrast import MIN_UNITS

_WORDS = {
    "ws": "small-world ones (ws)",
    "er": "random ones (er)",
    "ba": "scale-free ones (ba)",
    "rewired": "rewired ones",
    "type_rewired": "ones rewired within neuron types",
    "strength_rewired": "ones rewired with strengths kept",
    "random_rewired": "randomly rewired ones",
    "weight_shuffled": "ones with shuffled weights",
    "names_shuffled": "ones with shuffled neurons",
    "random_dag": "random DAGs of it",
}
"""What wirings of a family are called after "the worm's wiring was not different from 60 ..."."""
Row = Mapping[str, Any]


def answers(comparison: Comparison, subject: str = "the reference", on: str = "") -> list[str]:
    """One sentence a family: different, equal within the margin, or undecided and how many more units would decide.

    Differences are the reference's value minus the mean of the family's units. The verdicts and p values, with Holm's correction over the
    families, are those of :func:`~elegans_pyg.analysis.compare`; what was not tested is called neither different nor equal.

    Args:
        comparison: of families with a reference.
        subject: what the reference is called, if it is the connectome.
        on: what the values were measured on, such as a data set.
    """
    reference, *rows = comparison.to_dict()["families"]
    name = subject if reference["family"] == SINGLE_WIRING else f"the family {reference['family']}"
    return [_sentence(comparison, name, reference, row, f" on {on}" if on else "", len(rows) > 1) for row in rows]


def task_answers(comparisons: Mapping[str, Comparison], subject: str = "the reference") -> list[str]:
    """The same for several tasks, each with a comparison of its own: one sentence a family that sorts the tasks by verdict."""
    if len(comparisons) < 2:
        return [sentence for comparison in comparisons.values() for sentence in answers(comparison, subject)]
    by_family: dict[str, dict[str, list[str]]] = {}
    others: dict[str, str] = {}
    for task, comparison in comparisons.items():
        for row in comparison.to_dict()["families"][1:]:
            found = by_family.setdefault(row["family"], {"different": [], "equal": [], "undecided": []})
            others[row["family"]] = _other(row)
            verdict = "different" if row["verdict"] == "different within margin" else row["verdict"]
            more = f", about {row['more']:,} more of each would decide" if row["more"] else ""
            shown = "no run" if row["difference"] is None else _measured(comparison, {**row, "difference_low": None})
            found[verdict].append(f"{task} ({shown}{_p(row) if verdict == 'different' else more})")
    titles = {"different": "Different in", "equal": "Equal within the margin in", "undecided": "Undecided in"}
    sentences = []
    for family, found in by_family.items():
        parts = ". ".join(f"{titles[verdict]} {'; '.join(tasks)}" for verdict, tasks in found.items() if tasks)
        sentences.append(f"{_capital(subject)} against {others[family]}, on average: {parts}.")
    return sentences


def _sentence(comparison: Comparison, subject: str, reference: Row, row: Row, on: str, several: bool) -> str:
    other, value = _other(row), comparison.value.replace("_", " ")
    if row["difference"] is None:
        return f"{_capital(subject)} cannot be compared{on} with {other}: of one of the two no run has finished."
    measured, tested = _measured(comparison, row), _p(row) + (" after Holm's correction" if several else "")
    scale, unit = (100, " points") if comparison.share else (1, "")
    margin = "" if comparison.margin is None else f"the margin of {scale * comparison.margin:g}{unit}"
    if row["verdict"].startswith("different"):
        direction = "higher" if row["difference"] < 0 else "lower"
        but = f", but by less than {margin}" if row["verdict"] == "different within margin" else ""
        return f"{_capital(subject)} had a {direction} {value}{on} than {other}, on average{but}: {measured}{tested}."
    if row["verdict"] == "equal":
        return f"{_capital(subject)} was not different{on} from {other}, on average: {measured}, equal within {margin}."
    if row["p"] is None:
        few = f"{reference['n']} against {row['n']} is too few for a test, which needs {MIN_UNITS} of each"
        return f"Whether {subject} differs{on} from {other} has not been tested: {measured}; {few}."
    if row["more"]:
        units = "pairs" if row["pairs"] is not None else "of each"
        more = f"about {row['more']:,} more {units} would decide if what was observed is the true difference"
    else:
        more = "how many more would decide is not known"
    return f"Whether {subject} differs{on} from {other}, on average, is undecided: {measured}{tested}; {more}."


def _other(row: Row) -> str:
    family, count = row["family"], row["n"]
    if row["unit"] == "wiring":
        return f"{count:,} {_WORDS.get(family, f'of the family {family}')}"
    runs = f"({count:,} run{'' if count == 1 else 's'})"
    return f"one wiring of the family {family} {runs}" if family in _WORDS else f"{family} {runs}"


def _measured(comparison: Comparison, row: Row) -> str:
    """The reference minus the family, with its interval."""
    scale, unit, digits = (100, " points", 2) if comparison.share else (1, "", None)

    def number(value: float, sign: str = "") -> str:
        # Nothing is written as -0.00.
        text = f"{value:{sign}.3g}" if digits is None else f"{round(value, digits) + 0.0:{sign}.{digits}f}"
        return text.replace("-", "−")

    text = f"{number(-scale * row['difference'], '+')}{unit}"
    if row["difference_low"] is None:
        return text
    low, high = (number(-scale * row[f"difference_{end}"]) for end in ("high", "low"))
    return f"{text}, {100 * comparison.confidence:g} % interval {low} to {high}"


def _p(row: Row) -> str:
    return "" if row["p_holm"] is None else ", p < 0.001" if row["p_holm"] < 0.001 else f", p = {row['p_holm']:.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
