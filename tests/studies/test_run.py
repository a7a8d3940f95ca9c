"""Running studies: to the end, from anywhere in between, and only ever the run that it was."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch_geometric.data import Data

from elegans_pyg._progress import Progress
from elegans_pyg.recipes.ensemble import ENSEMBLE
from elegans_pyg.studies import Interrupted, Memory, Units, load_run, run_study
from elegans_pyg.studies import run as run_module
from elegans_pyg.studies.folder import FolderInUse, RunFolder
from elegans_pyg.studies.run import join_folder, run_array_shard, stopped_by_signals
from elegans_pyg.studies.shards import MEMORY_SHARE, split
from elegans_pyg.studies.study import Report
from tests.studies import counting
from tests.studies.counting import BESIDE, COUNTING, CountingSettings

# A process that has imported everything once, and forks: importing takes longer than the runs.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.studies.counting", "elegans_pyg.studies.run"])


def contents(folder: Path) -> dict[str, bytes]:
    """All that a run keeps, without what belongs to the time and the process."""
    skipped = (".lock", ".holder.json", "summary.json", "identity.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


def start(folder: Path, pause: float, *more: object) -> BaseProcess:
    process = CONTEXT.Process(target=counting.main, args=(str(folder), pause, *more))
    process.start()
    return process


def finish(process: BaseProcess) -> int:
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def wait_for(path: Path, process: BaseProcess, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.is_alive()
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.01)


def test_a_study_leaves_a_folder_that_explains_itself(tmp_path: Path) -> None:
    result = run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    assert result.results["family"].tolist() == ["connectome"] * 3 + ["er"] * 3
    assert result.report.notes == ["6 units"]
    run = load_run(tmp_path / "run", COUNTING)
    assert run.settings == CountingSettings()
    with pytest.raises(ValueError, match=r"holds a run of another command; resume it with: elegans-pyg \S+ --resume"):
        load_run(tmp_path / "run", ENSEMBLE)
    pd.testing.assert_frame_equal(run.results, result.results)
    assert run.wirings["er"].edge_index.tolist() == [[0, 1, 2, 3], [3, 0, 1, 2]]
    identity = run.folder.read_json("identity.json")
    assert identity["machine"]["threads"] >= 1
    assert identity["machine"]["processor"]
    assert "torch" in identity["machine"]["versions"]
    assert (tmp_path / "run" / "config.yaml").read_text().startswith("# Settings of: elegans-pyg counting\n")


def test_findings_are_told_before_anything_is_drawn(tmp_path: Path) -> None:
    told: list[tuple[list[str], bool, bool]] = []
    folder = tmp_path / "run"

    def tell(report: Report) -> None:
        told.append((report.notes, (folder / "results.csv").is_file(), (folder / "report.html").exists()))

    run_study(COUNTING, CountingSettings(), folder, quiet=True, tell=tell)
    assert told == [(["6 units"], True, False)]
    # Of a finished run, which is not drawn again, too.
    run_study(COUNTING, CountingSettings(), folder, resume=True, quiet=True, tell=tell)
    assert told[1] == (["6 units"], True, True)


def test_without_a_folder_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run_study(COUNTING, CountingSettings(), quiet=True)
    assert len(result.results) == 6
    assert result.out is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_result_does_not_depend_on_the_shards(tmp_path: Path, size: int) -> None:
    whole = run_study(COUNTING, CountingSettings(), quiet=True).results
    parts = run_study(COUNTING, CountingSettings(shard_size=size), tmp_path / "run", quiet=True).results
    pd.testing.assert_frame_equal(whole, parts)
    assert load_run(tmp_path / "run", COUNTING).units.table["shard"].max() == -(-6 // size)


@pytest.mark.slow
def test_processes_side_by_side_give_the_same(tmp_path: Path) -> None:
    whole = run_study(BESIDE, CountingSettings(), quiet=True, workers=1).results
    parts = run_study(BESIDE, CountingSettings(shard_size=1), tmp_path / "run", quiet=True, workers=2).results
    pd.testing.assert_frame_equal(whole, parts)


def test_a_finished_run_is_left_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    result = run_study(COUNTING, CountingSettings(), tmp_path / "run", resume=True)
    assert "holds a finished run; nothing is left to do" in capfd.readouterr().err
    assert len(result.results) == 6
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    # Not even without its checkpoints, which a finished run needs no more.
    shutil.rmtree(tmp_path / "run" / "shards" / "00001")
    with pytest.raises(ValueError, match="1 of 1 shards"):
        run_study(COUNTING, CountingSettings(), tmp_path / "run", resume=True, quiet=True)
    assert len(load_run(tmp_path / "run", COUNTING).results) == 6


def test_a_run_says_when_it_was_finished(tmp_path: Path) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    run = load_run(tmp_path / "run", COUNTING)
    finished = run.summary["finished"]
    assert before <= datetime.fromisoformat(finished) <= datetime.now(timezone.utc)
    # Figures that are drawn later do not change it.
    run.redraw()
    assert run.summary["finished"] == finished


def test_a_run_is_begun_once(tmp_path: Path) -> None:
    run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    with pytest.raises(FileExistsError, match="holds a run already; give another folder, or add --resume"):
        run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match="not empty and holds no run"):
            run_study(COUNTING, CountingSettings(), tmp_path / "other", resume=resume, quiet=True)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_refused_start_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="memory: one unit needs about"):
        run_study(COUNTING, CountingSettings(unit_bytes=2**50), tmp_path / "new" / "run", quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with pytest.raises(OSError, match="pretended disk"):
        run_study(COUNTING, CountingSettings(fail_at=3), folder, quiet=True)
    before = contents(folder)
    for changed, message in (
        ({"steps": 6}, "resume: steps is 5 in .*config.yaml, and 6 was given"),
        ({"seed": 1}, "resume: seed is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            run_study(COUNTING, CountingSettings(**changed), folder, resume=True, quiet=True)
    monkeypatch.setattr(counting, "unit_seed", lambda *_: 7)
    with pytest.raises(ValueError, match=r"resume: the units of .* have changed since its run started"):
        run_study(COUNTING, CountingSettings(), folder, resume=True, quiet=True)
    monkeypatch.undo()
    assert contents(folder) == before
    # Where and how fast it is computed may change.
    result = run_study(COUNTING, CountingSettings(step_s=0.001), folder, resume=True, quiet=True)
    pd.testing.assert_frame_equal(result.results, run_study(COUNTING, CountingSettings(), quiet=True).results)


def test_changed_wirings_and_data_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    folder, kept = tmp_path / "run", counting.units
    with pytest.raises(OSError, match="pretended disk"):
        run_study(COUNTING, CountingSettings(fail_at=3), folder, quiet=True)

    def other_wiring(settings: CountingSettings) -> object:
        made = kept(settings)
        made.wirings[0].edge_index = made.wirings[0].edge_index.flip(0)
        return made

    with pytest.raises(ValueError, match=r"the wirings \(a file of them was changed\) of"):
        run_study(replace(COUNTING, units=other_wiring), CountingSettings(), folder, resume=True, quiet=True)
    with pytest.raises(ValueError, match="the images or other data of"):
        run_study(replace(COUNTING, data=lambda _: {"numbers": "others"}), CountingSettings(), folder, resume=True, quiet=True)


def test_another_machine_is_warned_of(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="pretended disk"):
        run_study(COUNTING, CountingSettings(fail_at=3), tmp_path / "run", quiet=True)
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    run_study(COUNTING, CountingSettings(), tmp_path / "run", resume=True, quiet=True)
    assert "threads" in (err := capfd.readouterr().err)
    assert "-> 77" in err


def test_files_changed_after_the_run_are_refused(tmp_path: Path) -> None:
    run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    results = tmp_path / "run" / "results.csv"
    results.write_text(results.read_text().replace("er", "ws", 1))
    with pytest.raises(ValueError, match=r"results\.csv was changed after its run"):
        _ = load_run(tmp_path / "run", COUNTING).results
    load_run(tmp_path / "run", COUNTING).folder.finish_again()
    with pytest.raises(ValueError, match=r"results\.csv was changed after its run"):
        _ = load_run(tmp_path / "run", COUNTING).results
    results.unlink()
    with pytest.raises(FileNotFoundError, match=r"results\.csv is missing"):
        _ = load_run(tmp_path / "run", COUNTING).results


def test_an_unfinished_run_says_how_to_finish_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="pretended disk"):
        run_study(COUNTING, CountingSettings(fail_at=3), tmp_path / "run", quiet=True)
    with pytest.raises(FileNotFoundError, match=r"finish it with: elegans-pyg counting --resume --out"):
        _ = load_run(tmp_path / "run", COUNTING).results
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    "number", [*(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP)), signal.SIGINT, signal.SIGKILL]
)
def test_a_signalled_run_is_resumed_to_the_same_bytes(tmp_path: Path, number: signal.Signals) -> None:
    run_study(COUNTING, CountingSettings(shard_size=2), tmp_path / "calm", quiet=True)
    process = start(tmp_path / "run", 0.2, 3, 2)
    wait_for(tmp_path / "run" / "shards" / "00002" / "state.txt", process)
    os.kill(process.pid or 0, number)
    assert finish(process) != 0
    for _ in range(2):
        assert finish(start(tmp_path / "run", 0.0, 3, 2)) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / "results.csv"), pd.read_csv(tmp_path / "calm" / "results.csv"))
    calm, resumed = contents(tmp_path / "calm"), contents(tmp_path / "run")
    assert {name for name in calm if calm[name] != resumed.get(name)} <= {"config.yaml"}
    assert set(calm) == set(resumed)


def test_only_one_process_works_in_a_folder(tmp_path: Path) -> None:
    process = start(tmp_path / "run", 0.5)
    wait_for(tmp_path / "run" / "config.yaml", process)
    with pytest.raises(FolderInUse, match=rf"in use by process {process.pid} on .*python"):
        run_study(COUNTING, CountingSettings(), tmp_path / "run", resume=True, quiet=True)
    process.kill()
    process.join()
    run_study(COUNTING, CountingSettings(), tmp_path / "run", resume=True, quiet=True)


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    process = start(tmp_path / "run", 2, 3, 1, "beside")
    wait_for(tmp_path / "run" / "shards" / "00001" / "state.txt", process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.join()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("left", ["nothing", ".config.yaml.1.part", "units.csv", "wirings/00000.safetensors"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_start_that_was_killed_can_be_started_or_resumed(tmp_path: Path, left: str, resume: bool) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if left != "nothing":
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).write_bytes(b"half")
        (folder / ".lock").touch()
    assert len(run_study(COUNTING, CountingSettings(), folder, resume=resume, quiet=True).results) == 6
    assert not list(folder.rglob("*.part"))


def test_a_users_folder_of_wirings_is_no_start_of_a_run(tmp_path: Path) -> None:
    own = tmp_path / "wirings" / "larva.csv"
    own.parent.mkdir()
    own.write_text("source,target")
    with pytest.raises(FileExistsError, match="is not empty and holds no run; give another folder"):
        run_study(COUNTING, CountingSettings(), tmp_path, quiet=True)
    assert own.read_text() == "source,target"


def test_units_go_into_as_many_shards_as_memory_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elegans_pyg.studies.machine.free_memory", lambda device=None: 1_000)
    units = counting.units(CountingSettings(units=5))
    assert split(COUNTING, CountingSettings(unit_bytes=int(MEMORY_SHARE * 1_000) // 3), units).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    with pytest.raises(ValueError, match="one unit needs about 0 MiB"):
        split(COUNTING, CountingSettings(unit_bytes=900), units)
    with pytest.raises(ValueError, match="give 4 or more"):
        split(COUNTING, CountingSettings(unit_bytes=int(MEMORY_SHARE * 1_000) // 3), units, 3)
    assert split(COUNTING, CountingSettings(), units, 4).tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    assert isinstance(Memory(0, np.ones(3)).unit, np.ndarray)


def test_shards_run_apart_and_are_joined(tmp_path: Path) -> None:
    whole = run_study(COUNTING, CountingSettings(), quiet=True).results
    folder = RunFolder(tmp_path / "run")
    for number in (2, 1):
        run_array_shard(COUNTING, CountingSettings(), folder.path, number, 3, quiet=True)
    with pytest.raises(ValueError, match=r"1 of 3 shards of .* are not done \(3\)"):
        join_folder(COUNTING, CountingSettings(), folder)
    with pytest.raises(ValueError, match="has 3 shards, got 1/4"):
        run_array_shard(COUNTING, CountingSettings(), folder.path, 1, 4, quiet=True)
    with pytest.raises(ValueError, match="expected I/N with I from 1 to N, got 4/3"):
        run_array_shard(COUNTING, CountingSettings(), folder.path, 4, 3, quiet=True)
    run_array_shard(COUNTING, CountingSettings(), folder.path, 3, 3, quiet=True)
    pd.testing.assert_frame_equal(join_folder(COUNTING, CountingSettings(), folder).results, whole)


def test_the_owner_of_a_run_leaves_what_its_shards_are_writing(tmp_path: Path) -> None:
    run_study(COUNTING, CountingSettings(), tmp_path / "run", quiet=True)
    own, shard = tmp_path / "run" / ".results.csv.1.part", tmp_path / "run" / "shards" / "00001" / ".rows.csv.1.part"
    for path in (own, shard):
        path.write_text("half")
    with RunFolder(tmp_path / "run").claim():
        assert not own.exists()
        assert shard.exists()
    with RunFolder(tmp_path / "run").shard(1).claim_shard():
        assert not shard.exists()


def test_a_running_shard_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = RunFolder(tmp_path / "run").shard(3)
    assert shard.progress() == 0
    with shard.claim_shard(), shard.telling_progress(), Progress("counting", 8, quiet=True) as progress:
        progress.advance(2)
        assert shard.progress() == 0.25
        progress.advance(2)
        # Told every few seconds only.
        assert shard.progress() == 0.25
        monkeypatch.setattr("elegans_pyg.studies.folder._PROGRESS_EVERY_S", 0.0)
        progress.advance(2)
        assert shard.progress() == 0.75
        # That it cannot be written is no reason to stop.
        shutil.rmtree(shard.path)
        progress.advance(2)
    assert shard.progress() == 0


def test_jobs_of_an_array_do_not_wait_for_the_owner_of_the_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    run_array_shard(COUNTING, CountingSettings(), folder.path, 1, 2, quiet=True)
    with folder.claim():
        run_array_shard(COUNTING, CountingSettings(), folder.path, 2, 2, quiet=True)
    assert len(join_folder(COUNTING, CountingSettings(), folder).results) == 6


def test_jobs_that_waited_for_the_first_do_not_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, started, claims = tmp_path / "run", RunFolder.started, []
    run_array_shard(COUNTING, CountingSettings(), folder, 1, 2, quiet=True)
    # A job that looked before the first one had written, and got the lock afterwards.
    monkeypatch.setattr(RunFolder, "started", lambda self: bool(claims) and started(self))
    claim = RunFolder.claim

    @contextmanager
    def claimed(self: RunFolder, wait_s: float = 0) -> Iterator[None]:
        claims.append("taken")
        with claim(self, wait_s):
            yield
        claims.append("free")

    prepared = run_module.prepare
    monkeypatch.setattr(RunFolder, "claim", claimed)
    monkeypatch.setattr(run_module, "prepare", lambda *args, **options: (claims.append("prepared"), prepared(*args, **options))[1])
    run_array_shard(COUNTING, CountingSettings(), folder, 2, 2, quiet=True)
    assert claims == ["taken", "free", "prepared"]


def test_a_shard_reads_its_own_wirings_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elegans_pyg.studies.folder._WIRINGS_A_FILE", 2)
    graphs = [Data(edge_index=torch.tensor([[0], [1]]), num_nodes=number + 2) for number in range(5)]
    units = Units.build([{"family": "er", "wiring_seed": 0, "seed": number} for number in range(6)], [*graphs, None])
    folder = RunFolder(tmp_path)
    folder.write_units(Units(units.table.assign(shard=[1, 1, 2, 2, 2, 3]), units.wirings))
    assert [graph.num_nodes for graph in folder.read_units().wirings] == [2, 3, 4, 5, 6]
    (tmp_path / "wirings" / "00000.safetensors").unlink()
    table, wirings = folder.read_shard(2)
    assert table["wiring"].tolist() == [2, 3, 4]
    assert [graph.num_nodes for graph in wirings] == [4, 5, 6]
    assert folder.read_shard(3)[1] == [None]
    with pytest.raises(ValueError, match=r"00000\.safetensors is missing or damaged"):
        folder.read_units()


def test_a_cluster_ends_a_job_as_ctrl_c_does() -> None:
    def stop() -> None:
        with stopped_by_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    with pytest.raises(Interrupted) as caught:
        stop()
    assert caught.value.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
