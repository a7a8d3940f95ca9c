"""What comparisons come to, in sentences that say no more than their tests do."""

from collections.abc import Mapping
from typing import Any

from elegans_pyg._progress import counted
from elegans_pyg.analysis.arms import SINGLE_WIRING
from elegans_pyg.analysis.compare import Comparison
from elegans_pyg.analysis.power import ALPHA

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
    """One sentence a family: different, equal within the margin, undecided or not tested, and how many more units it takes.

    "Higher" and "lower" are said of the reference, against the mean of the family's units; the table of a comparison has the same numbers
    as family minus reference. The verdicts and p values, with Holm's correction over the families, are those of
    :func:`~elegans_pyg.analysis.compare`; what was not tested is called neither different nor equal.

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
    titles = {"different": "Different", "equal": "Equal within the margin", "undecided": "Undecided", "not tested": "Not tested"}
    by_family: dict[str, dict[str, list[str]]] = {}
    others: dict[str, str] = {}
    for task, comparison in comparisons.items():
        for row in comparison.to_dict()["families"][1:]:
            found = by_family.setdefault(row["family"], {verdict: [] for verdict in titles})
            others[row["family"]] = _other(row)
            verdict = "different" if row["verdict"] == "different within margin" else row["verdict"]
            told = f", {_p(row['p_holm'])}" if verdict == "different" else f", {_more(row)}" if row["more"] else ""
            shown = "no run" if row["difference"] is None else _measured(comparison, row, interval=False)
            found[verdict].append(f"{task} ({shown}{told})")
    sentences = []
    for family, found in by_family.items():
        parts = ". ".join(f"{titles[verdict]} in {'; '.join(tasks)}" for verdict, tasks in found.items() if tasks)
        sentences.append(f"{_capital(subject)} against {others[family]}, on average: {parts}.")
    return sentences


def _sentence(comparison: Comparison, subject: str, reference: Row, row: Row, on: str, several: bool) -> str:
    other, value, verdict = _other(row), comparison.value.replace("_", " "), row["verdict"]
    if row["difference"] is None:
        return f"{_capital(subject)} cannot be compared{on} with {other}: of one of the two no run has finished."
    measured, holm = _measured(comparison, row), " after Holm's correction" if several else ""
    scale, unit = (100, " points") if comparison.share else (1, "")
    margin = "" if comparison.margin is None else f"{scale * comparison.margin:g}{unit}"
    if verdict.startswith("different"):
        direction = "higher" if row["difference"] < 0 else "lower"
        but = f", but by less than the margin of {margin}" if verdict == "different within margin" else ""
        than = f"had a {direction} {value}{on} than {other}, on average{but}"
        return f"{_capital(subject)} {than}: {measured}, {_p(row['p_holm'])}{holm}."
    if verdict == "equal":
        same = f"had the same {value}{on} as {other}, on average, within the margin of {margin} ({_p(row['p_equal_holm'])}{holm})"
        return f"{_capital(subject)} {same}: {measured}."
    whether = f"Whether {subject} differs in {value}{on} from {other}"
    if verdict == "not tested":
        return f"{whether} has not been tested: it was {measured}; {reference['n']} against {row['n']} are too few, {_more(row)}{holm}."
    tested = f"{_p(row['p_holm'])}{holm}"
    if margin:
        both = f", both{holm}" if several else ""
        tested = f"{_p(row['p_holm'])}, nor is it shown to be equal within {margin} ({_p(row['p_equal_holm'])}){both}"
    more = f"{_more(row)} if what was observed is the true difference" if row["more"] else "how many more would decide is not known"
    return f"{whether}, on average, is undecided: it was {measured}, {tested}; {more}."


def _other(row: Row) -> str:
    family, count = row["family"], row["n"]
    if row["unit"] == "wiring":
        return f"{count:,} {_WORDS.get(family, f'of the family {family}')}"
    runs = f"({counted(count, 'run')})"
    return f"one wiring of the family {family} {runs}" if family in _WORDS else f"{family} {runs}"


def _measured(comparison: Comparison, row: Row, interval: bool = True) -> str:
    """By how much the reference is higher or lower than the family, with its interval."""
    # As many digits as the table has.
    scale, unit, digits = (100, " points", 2) if comparison.share else (1, "", 3)

    def told(name: str) -> tuple[str, str]:
        size = f"{abs(scale * row[name]):.{digits}f}"
        # What is written as zero has no direction.
        return size, "" if float(size) == 0 else "higher" if row[name] < 0 else "lower"

    size, direction = told("difference")
    text = f"{size}{unit} {direction or 'apart'}"
    if not interval or row["difference_low"] is None:
        return text
    (low, below), (high, above) = told("difference_high"), told("difference_low")
    if below and above and below != above:
        ends = f"{low}{unit} {below} to {high}{unit} {above}"
    else:
        least, most = sorted((low, high), key=float)
        ends = f"{least} to {most}{unit} {below or above or 'apart'}"
    return f"{text} ({100 * comparison.confidence:g} % interval: {ends})"


def _more(row: Row) -> str:
    """The further units that would decide, or with which there can be a test that finds something."""
    units = f"{row['more']:,} more {'pairs' if row['pairs'] is not None else 'of each'}"
    return f"p can reach {ALPHA:g} with {units}" if row["verdict"] == "not tested" else f"about {units} would decide"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
