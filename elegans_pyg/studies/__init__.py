"""The experiment framework: settings, units, run folders, engines and reports."""

from importlib import import_module
from typing import Any

_ROOMS = {
    "fitting": ("check_fit", "fit_shard", "fitted_rows", "image_kind"),
    "prediction": ("predict", "write_report"),
    "run": ("StudyResult", "run_study"),
    "saved": ("Run", "compare_runs", "join_runs", "load_run"),
    "study": ("Finished", "Interrupted", "Memory", "Report", "Shard", "Study"),
    "tables": ("MISSING", "bullets", "comparison_table", "make_table", "mean_and_sd", "score_name", "stopped_notes"),
    "units": ("Units", "check_room", "drawings", "unit_seed"),
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported on demand, so that the command line can read the recipes' settings without importing torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
