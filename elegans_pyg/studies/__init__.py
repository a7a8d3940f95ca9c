"""The experiment framework: settings, units, run folders, engines and reports."""

from elegans_pyg._on_first_use import on_first_use

_ROOMS = {
    "fitting": ("check_fit", "fit_shard", "fitted_rows", "image_kind"),
    "prediction": ("predict", "write_report"),
    "run": ("StudyResult", "run_study"),
    "saved": ("Run", "compare_runs", "join_runs", "load_run"),
    "study": ("Finished", "Interrupted", "Memory", "Report", "Shard", "Study"),
    "tables": ("MISSING", "bullets", "comparison_table", "make_table", "mean_and_sd", "score_name", "stopped_notes"),
    "units": ("Units", "check_room", "drawings", "unit_seed"),
}
__getattr__, __all__ = on_first_use(__name__, _ROOMS)
