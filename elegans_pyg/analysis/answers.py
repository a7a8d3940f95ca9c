"""What comparisons come to, in sentences that say no more than their tests do."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from elegans_pyg._progress import counted
from elegans_pyg.analysis.compare import Comparison
from elegans_pyg.analysis.comparison_notes import powerless
from elegans_pyg.analysis.contrast import INTERVAL_UNITS
from elegans_pyg.analysis.power import ALPHA

_WORDS = {
    "ws": "small-world ones (ws)",
    "er": "random ones (er)",
    "ba": "scale-free ones (ba)",
    "rewired": "rewired ones",
    "type_rewired": "wirings rewired within neuron types",
    "strength_rewired": "wirings rewired with strengths kept",
    "random_rewired": "randomly rewired ones",
    "weight_shuffled": "wirings with shuffled weights",
    "names_shuffled": "wirings with shuffled neurons",
    "random_dag": "random DAGs of it",
}
"""What wirings of a family are called after "the worm's wiring was not different from 60 ..."."""
_OPEN = {"undecided": "is undecided", "not tested": "has not been tested"}
Row = Mapping[str, Any]


def answers(comparison: Comparison, subject: str = "the reference", on: str = "") -> list[str]:
    """One sentence that sums up the families, if there are several, and then one a family: different, equal within the margin, undecided or
    not tested, and how many more units it takes.

    "Higher" and "lower" are said of the reference, against the mean of the family's units; the table of a comparison has the same numbers
    as family minus reference. The verdicts and p values, with Holm's correction over the families, are those of
    :func:`~elegans_pyg.analysis.compare`; what was not tested is called neither different nor equal, and where units are too few for a
    bootstrap interval or for any significant difference, no interval is given, or the sentence says so.

    Args:
        comparison: of families with a reference.
        subject: what the reference is called, if it is the connectome.
        on: what the values were measured on, such as a data set.
    """
    reference, *rows = comparison.to_dict()["families"]
    name = subject if reference["family"] == "connectome" else f"the family {reference['family']}"
    few, place = set(comparison.table["family"][powerless(comparison.table)]), f" on {on}" if on else ""
    if len(rows) == 1:
        return [_sentence(comparison, reference, rows[0], few, name, place)]
    return [_lead(comparison, reference, rows, few, name, place), *(_sentence(comparison, reference, row, few) for row in rows)]


def task_answers(comparisons: Mapping[str, Comparison], subject: str = "the reference", on: str = "") -> list[str]:
    """The same for several tasks, each with a comparison of its own: if there are several families, one sentence that counts the verdicts,
    and then one a family that sorts the tasks by verdict."""
    if len(comparisons) < 2:
        return [sentence for comparison in comparisons.values() for sentence in answers(comparison, subject, on)]
    titles = {"different": "Different", "equal": "Equal within the margin", "undecided": "Undecided", "not tested": "Not tested"}
    by_family: dict[str, dict[str, list[str]]] = {}
    others: dict[str, str] = {}
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("higher", "lower", *map(str.lower, titles.values()))}
    for task, comparison in comparisons.items():
        for row in comparison.to_dict()["families"][1:]:
            found = by_family.setdefault(row["family"], {verdict: [] for verdict in titles})
            others[row["family"]] = _other(row)
            verdict = row["verdict"].removesuffix(" within margin")
            told = f", {_p(row['p_holm'])}" if verdict == "different" else f", {_more(row)}" if row["more"] else ""
            shown = "no run" if row["difference"] is None else _span(comparison, row["difference"])
            found[verdict].append(f"{task} ({shown}{told})")
            counts[_direction(row) if verdict == "different" else titles[verdict].lower()][task] += 1
    sentences = []
    if len(by_family) > 1:
        tallies = [f"{name} in {own.total()} ({_listed(f'{task} {n}' for task, n in own.items())})" for name, own in counts.items() if own]
        among = f"{sum(own.total() for own in counts.values())} comparisons ({len(comparisons)} tasks, {len(by_family)} families)"
        sentences.append(f"Of {among}, {subject} is on average {'; '.join(tallies)}.")
    for family, found in by_family.items():
        parts = ". ".join(f"{titles[verdict]} in {'; '.join(tasks)}" for verdict, tasks in found.items() if tasks)
        sentences.append(f"{_capital(subject)} against {others[family]}, on average: {parts}.")
    return sentences


def _lead(comparison: Comparison, reference: Row, rows: Sequence[Row], few: set[str], subject: str, on: str) -> str:
    """All families in one sentence: than which of them the reference is higher or lower, to which it is equal, and where that is open."""
    name = f"the {_value(comparison)}{on} of {subject} ({counted(reference['n'], reference['unit'])})"
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        verdict = "no run" if row["difference"] is None else row["verdict"]
        groups.setdefault((verdict, _direction(row) if verdict.startswith("different") else ""), []).append(row)
    known, unknown = [], []
    for (verdict, direction), own in sorted(groups.items()):
        others = _listed(map(_other, own))
        span = "" if verdict == "no run" else _span(comparison, *(row["difference"] for row in own))
        if direction:
            but = f", less than the margin of {_margin(comparison)}" if verdict == "different within margin" else ""
            known.append(f"{direction} than that of {others} by {span.rpartition(' ')[0]}{but}")
        elif verdict == "equal":
            known.append(f"the same as that of {others} within the margin of {_margin(comparison)}")
        elif verdict == "no run":
            unknown.append(("", f"cannot be compared with that of {others}, as of one of the two no run has finished"))
        else:
            hopeless = verdict == "not tested" or few.issuperset(row["family"] for row in own)
            none = ", and so few units can show no difference" if hopeless else ""
            unknown.append(("whether ", f"differs from that of {others} {_OPEN[verdict]} (on average it was {span}{none})"))
    parts = [f"{name} was, on average, {'; '.join(known)}"] if known else []
    for before, after in reversed(unknown):
        parts.append(f"{before}{'it' if parts else name} {after}")
    return f"{_capital('; '.join(parts))}."


def _sentence(comparison: Comparison, reference: Row, row: Row, few: set[str], subject: str = "", on: str = "") -> str:
    """One family; without a ``subject`` in short, after a sentence that names it."""
    opening, it = _opening(comparison, row, subject, on), "it was " if subject else ""
    if row["difference"] is None:
        return f"{opening}: of one of the two no run has finished."
    least, against = min(reference["n"], row["n"]), f"{reference['n']} against {row['n']}"
    if row["pairs"] is not None:
        least, against = row["pairs"], counted(row["pairs"], "pair")
    measured = _span(comparison, row["difference"])
    if least >= INTERVAL_UNITS:
        ends = _span(comparison, row["difference_low"], row["difference_high"])
        measured += f" ({100 * comparison.confidence:g} % interval: {ends})"
    if row["verdict"] == "not tested":
        return f"{opening}: {it}{measured}; {against} are too few, {_more(row, not subject)}."
    p = _p(row["p_holm"], not subject)
    p_equal = "" if row["p_equal_holm"] is None else _p(row["p_equal_holm"], not subject)
    if row["verdict"] != "undecided":
        return f"{opening}: {measured}, {p_equal if row['verdict'] == 'equal' else p}."
    tested = p if comparison.margin is None else f"{p}, nor is it shown to be equal within {_margin(comparison)}, {p_equal}"
    more = f"{_more(row)} if this is the true difference" if row["more"] else "how many more would decide is not known"
    none = f"{against} are too few to show any difference, " if row["family"] in few else ""
    return f"{opening}: {it}{measured}, {tested}; {none}{more}."


def _opening(comparison: Comparison, row: Row, subject: str, on: str) -> str:
    """The verdict, with a ``subject`` as a sentence."""
    other, verdict, what = _other(row), row["verdict"], f"{_value(comparison)}{on}"
    within = f"within the margin of {_margin(comparison)}" if verdict == "equal" else ""
    but = f", but by less than the margin of {_margin(comparison)}" if verdict == "different within margin" else ""
    if row["difference"] is None:
        return f"{_capital(subject)} cannot be compared{on} with {other}" if subject else f"Not comparable with {other}"
    if verdict.startswith("different"):
        told = f"{_capital(subject)} had a {_direction(row)} {what} than {other}, on average"
        return f"{told if subject else f'Different from {other}'}{but}"
    if verdict == "equal":
        return f"{_capital(subject)} had the same {what} as {other}, on average, {within}" if subject else f"Equal to {other} {within}"
    if not subject:
        return f"{_capital(verdict)} against {other}"
    return f"Whether {subject} differs in {what} from {other}, on average, {_OPEN[verdict]}"


def _value(comparison: Comparison) -> str:
    return comparison.value.replace("_", " ")


def _margin(comparison: Comparison) -> str:
    return f"{100 * comparison.margin:g} points" if comparison.share else f"{comparison.margin:g}"  # type: ignore[operator]


def _direction(row: Row) -> str:
    return "higher" if row["difference"] < 0 else "lower"


def _other(row: Row) -> str:
    family, count = row["family"], row["n"]
    if row["unit"] == "wiring":
        return f"{count:,} {_WORDS.get(family, f'wirings of the family {family}')}"
    runs = f"({counted(count, 'run')})"
    return f"one wiring of the family {family} {runs}" if family in _WORDS else f"{family} {runs}"


def _span(comparison: Comparison, *differences: float) -> str:
    """By how much the reference is higher or lower: from the least to the most of several differences, family minus reference."""
    # As many digits as the table has.
    scale, unit, digits = (100, " points", 2) if comparison.share else (1, "", 3)

    def told(difference: float) -> tuple[str, str]:
        size = f"{abs(scale * difference):.{digits}f}"
        # What is written as zero has no direction.
        return size, "" if float(size) == 0 else "higher" if difference < 0 else "lower"

    (low, below), (high, above) = told(max(differences)), told(min(differences))
    if below and above and below != above:
        return f"{low}{unit} {below} to {high}{unit} {above}"
    least, most = sorted((low, high), key=float)
    return f"{least if least == most else f'{least} to {most}'}{unit} {below or above or 'apart'}"


def _more(row: Row, corrected: bool = False) -> str:
    """The further units that would decide, or with which there can be a test that finds something."""
    units = f"{row['more']:,} more {'pairs' if row['pairs'] is not None else 'of each'}"
    return (
        f"p{' (Holm)' if corrected else ''} can reach {ALPHA:g} with {units}"
        if row["verdict"] == "not tested"
        else f"about {units} would decide"
    )


def _p(p: float, corrected: bool = False) -> str:
    return f"p{' (Holm)' if corrected else ''} {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
