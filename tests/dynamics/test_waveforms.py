from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elegans_pyg.dynamics import Waveforms, Worm, simulate, stimuli, waveforms


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("waveforms")


@pytest.fixture(scope="module")
def fcm(root: Path) -> Waveforms:
    return Waveforms("fcm", 0.5, count=4, root=root, quiet=True)


def test_currents_and_voltages_are_the_simulations(fcm: Waveforms) -> None:
    assert fcm.current_pA.shape == fcm.voltage_mV.shape == (4, 1000, 4)
    assert fcm.input_names == ["PLML", "PLMR", "AVBL", "AVBR"]
    assert fcm.output_names == ["DB1", "LUAL", "PVR", "VB1"]
    assert fcm.time_ms[[0, -1]].tolist() == [0.5, 500]
    assert (fcm.split, fcm.kind) == (["train", "train", "validation", "test"], ["step", "ramp", "pulse", "chirp"])
    current = stimuli([2, 2], fcm.kind, 0.05, 500, 2.0, 0).current_pA[2:3]
    rest = torch.zeros(1, 4000, 4, dtype=torch.float64)
    _, voltage = simulate(
        Worm("c302-C1"), torch.cat([rest, current], 1), fcm.input_names, duration_ms=700, record=fcm.output_names, backend="fused"
    )
    torch.testing.assert_close(fcm.voltage_mV[2:3].double(), voltage[:, 4009::10], rtol=0, atol=1e-4)
    torch.testing.assert_close(fcm.current_pA[2:3].double(), current.unflatten(1, (1000, 10)).mean(2), rtol=0, atol=1e-6)
    # It starts at rest, and every output answers.
    assert float((fcm.voltage_mV[:, 5] - fcm.voltage_mV[:, 0]).abs().max()) < 0.05
    assert bool(((fcm.voltage_mV.amax((0, 1)) - fcm.voltage_mV.amin((0, 1))) > 0.2).all())


def test_what_was_simulated_is_read_again(fcm: Waveforms, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveforms, "_simulate", lambda *_: pytest.fail("simulated again"))
    again = Waveforms("fcm", 0.5, count=4, root=root, quiet=True)
    assert torch.equal(again.voltage_mV, fcm.voltage_mV)
    assert torch.equal(again.current_pA, fcm.current_pA)


def test_other_arguments_are_other_files(fcm: Waveforms, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def fake(scenario: object, outputs: list[str], current: torch.Tensor, every: int, worm: Worm) -> dict[str, torch.Tensor]:
        made.append(outputs)
        steps = current.size(1) // every
        return {"current_pA": torch.zeros(4, steps, current.size(2)), "voltage_mV": torch.zeros(4, steps, len(outputs))}

    monkeypatch.setattr(waveforms, "_simulate", fake)
    before = set(root.iterdir())
    other = Worm("c302-C1")
    other.data.leak_nS = other.data.leak_nS * 2
    options = [{"seed": 1}, {"amplitude_pA": 1.0}, {"dt_ms": 0.1}, {"outputs": ["DB2"]}, {"worm": other}, {"scenario": "fcm-no-ava"}]
    for option in options:
        Waveforms(**{"scenario": "fcm", "dt_ms": 0.5, "count": 4, "root": root, "quiet": True} | option)  # type: ignore[arg-type]
    assert len(made) == len(options) == len(set(root.iterdir()) - before)


def test_damaged_files_are_refused(fcm: Waveforms, root: Path) -> None:
    (path,) = root.glob("waveforms-fcm-0.5ms-*") if len(list(root.glob("*"))) == 1 else [_file_of(fcm, root)]
    whole = path.read_bytes()
    try:
        for damaged in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 1]), b"nothing"):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"root: .* is damaged .*; delete it"):
                Waveforms("fcm", 0.5, count=4, root=root, quiet=True)
    finally:
        path.write_bytes(whole)


def _file_of(data: Waveforms, root: Path) -> Path:
    from safetensors.torch import load_file

    return next(path for path in root.iterdir() if torch.equal(load_file(path)["voltage_mV"], data.voltage_mV))


def test_scaling_is_of_the_training_set(fcm: Waveforms) -> None:
    inputs, outputs = fcm.scaled("train")
    assert float(inputs.norm(dim=2).max()) == pytest.approx(1)
    torch.testing.assert_close(inputs / inputs.max(), fcm.current_pA[:2] / fcm.current_pA[:2].max())
    torch.testing.assert_close(outputs.amin((0, 1)), torch.zeros(4))
    tops = outputs.amax((0, 1))
    assert float(tops.max()) == pytest.approx(1)
    torch.testing.assert_close(tops, fcm.ranges_mV() / fcm.ranges_mV().max())
    scale, zero, span = fcm.scaling()
    test_inputs, test_outputs = fcm.scaled("test")
    torch.testing.assert_close(test_inputs * scale, fcm.current_pA[3:])
    torch.testing.assert_close(test_outputs * span + zero, fcm.voltage_mV[3:])
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'valid'"):
        fcm.scaled("valid")


def test_inputs_left_out_and_scenarios_joined(fcm: Waveforms) -> None:
    less = fcm.without_inputs("AVBL", "AVBR")
    assert less.input_names == ["PLML", "PLMR"]
    assert torch.equal(less.current_pA, fcm.current_pA[..., :2])
    assert torch.equal(less.voltage_mV, fcm.voltage_mV)
    with pytest.raises(ValueError, match=r"names: expected one of PLML, .*, got 'AVA'"):
        fcm.without_inputs("AVA")
    with pytest.raises(ValueError, match="at least one input to be left"):
        fcm.without_inputs(*fcm.input_names)
    renamed = Waveforms._of(**vars(fcm) | {"input_names": ["AVBL", "X", "Y", "Z"], "scenario": "other"})
    both = fcm.joined(renamed)
    assert both.input_names == ["PLML", "PLMR", "AVBL", "AVBR", "X", "Y", "Z"]
    assert both.scenario == "fcm+other"
    assert torch.equal(both.current_pA[:4, :, :4], fcm.current_pA)
    assert not both.current_pA[:4, :, 4:].any()
    assert torch.equal(both.current_pA[4:, :, [2, 4, 5, 6]], fcm.current_pA)
    assert not both.current_pA[4:, :, [0, 1, 3]].any()
    assert both.indices("test") == [3, 7]
    with pytest.raises(ValueError, match="other: expected the samples and the 4 outputs"):
        fcm.joined(Waveforms._of(**vars(fcm) | {"output_names": ["A", "B", "C", "D"]}))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="scenario: expected one of fcm"):
        Waveforms("walk")
    for dt_ms in (0.07, 0.3, 0.0, -0.5, 1000.0):
        with pytest.raises(ValueError, match=r"dt_ms: expected a multiple of 0\.05 ms that divides 500 ms"):
            Waveforms("fcm", dt_ms)
    for dt_ms in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="dt_ms: expected a multiple of"):
            Waveforms("fcm", dt_ms)
    with pytest.raises(ValueError, match="seed: expected 0 or more, got -1"):
        Waveforms("fcm", seed=-1)
    with pytest.raises(TypeError, match=r"count: expected an integer, got 4\.5"):
        Waveforms("fcm", count=4.5)  # type: ignore[arg-type]
    for inputs, error in (("A", TypeError), (["A", "A"], ValueError), ([" A"], ValueError), ([], ValueError)):
        with pytest.raises(error, match="inputs: expected"):
            Waveforms.from_files(["1", "2", "3"], inputs, ["B"])
    with pytest.raises(ValueError, match="count: expected 4 or more, got 3"):
        Waveforms("fcm", count=3)


def rows(steps: int = 4, shift: float = 0.0) -> list[str]:
    return [f"{k} {0.0005 * k} {-0.065 + k * 0.001 + shift} {-0.05} {1.5 * k}" for k in range(steps)]


def test_the_authors_format_is_read(tmp_path: Path) -> None:
    files = []
    for number in range(4):
        files.append(tmp_path / f"Sequence_{number}.dat")
        files[-1].write_text("\n".join(rows(shift=0.01 * number)) + "\n")
    data = Waveforms.from_files(files, ["PLML"], ["DB1", "VB1"])
    assert data.dt_ms == pytest.approx(0.5)
    assert data.split == ["train", "train", "validation", "test"]
    torch.testing.assert_close(data.voltage_mV[2, :, 0], torch.tensor([-45.0, -44, -43, -42]))
    torch.testing.assert_close(data.voltage_mV[0, :, 1], torch.full((4,), -50.0))
    torch.testing.assert_close(data.current_pA[0, :, 0], torch.tensor([0.0, 1.5, 3, 4.5]))
    assert Waveforms.from_files(files, ["A"], ["B", "C"], ["test", "validation", "train", "train"]).indices("train") == [2, 3]
    with pytest.raises(ValueError, match="split: expected train, validation, test for 4 files"):
        Waveforms.from_files(files, ["A"], ["B", "C"], ["test"] * 4)
    files[1].write_text("\n".join(rows(5)))
    with pytest.raises(ValueError, match=r"Sequence_1\.dat: expected the 4 samples of Sequence_0\.dat"):
        Waveforms.from_files(files, ["A"], ["B", "C"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: [], "expected text, got an empty file"),
        (lambda r: r[:1], "line 2: expected two rows or more, got 1"),
        (lambda r: [*r[:2], r[2] + " 7", *r[3:]], r"line 3: expected 5 columns .* got 6"),
        (lambda r: [*r[:3], " ".join(r[3].split()[:-1])], "line 4: expected 5 columns .* got 4"),
        (lambda r: [r[0], "", *r[1:]], "line 2: expected 5 columns .* got 0"),
        (lambda r: [*r[:1], "1 0.0005 -0.06 volt 0", *r[2:]], "line 2: expected a number, finite in float32, got 'volt'"),
        (lambda r: [*r[:1], "1 0.0005 -0.06 nan 0", *r[2:]], "line 2: expected a number, finite .*, got 'nan'"),
        (lambda r: [*r[:1], "1 0.0005 inf 0 0", *r[2:]], "line 2: expected a number, finite .*, got 'inf'"),
        (lambda r: [*r[:1], "1 0.0005 1e300 0 0", *r[2:]], "line 2: expected a number, finite .*, got '1e300'"),
        (lambda r: [*r[:1], "1 0.0005 7_5 0 0", *r[2:]], "line 2: expected a number, finite .*, got '7_5'"),
        (lambda r: [*r[:2], *r[3:]], "line 3: expected row number 2, got 3"),
        (lambda r: [*r[:3], r[3].replace("0.0015", "0.0012")], r"line 4: expected equal steps of 0\.5 ms, got one of 0\.2 ms"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, change: object, message: str) -> None:
    files = [tmp_path / f"{number}.dat" for number in range(3)]
    for file in files:
        file.write_text("\n".join(rows()))
    files[1].write_text("\n".join(change(rows())))  # type: ignore[operator]
    with pytest.raises(ValueError, match=rf"1\.dat(, |: ){message}"):
        Waveforms.from_files(files, ["A"], ["B", "C"])


def test_blank_lines_at_the_end_are_none(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.dat" for number in range(3)]
    for file, end in zip(files, ("", "\n", "\n \n\n"), strict=True):
        file.write_text("\n".join(rows()) + end)
    assert len(Waveforms.from_files(files, ["A"], ["B", "C"])) == 3


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.dat" for number in range(3)]
    for file in files:
        file.write_bytes(b"\xff\xfe0 1 2")
    with pytest.raises(ValueError, match=r"0\.dat: expected UTF-8 text, got an invalid byte at position 0"):
        Waveforms.from_files(files, ["A"], ["B", "C"])
    with pytest.raises(ValueError, match="files: expected 3 or more"):
        Waveforms.from_files(files[:2], ["A"], ["B", "C"])
