from __future__ import annotations

import numpy as np
import pytest
import torch

from elegans_pyg.dynamics import SCENARIOS, Waveforms, Worm, stimuli
from elegans_pyg.dynamics.stimuli import KINDS
from elegans_pyg.dynamics.waveforms import KINDS_OF_SPLIT

FORTY = [KINDS[k % len(KINDS)] for k in range(40)]


def test_forty_diverse_currents_within_the_amplitude() -> None:
    state = np.random.get_state()[1].copy()  # noqa: NPY002, it is the global one that must not move
    current = stimuli([2, 2], FORTY, dt_ms=0.5, amplitude_pA=3.0, seed=4).current_pA
    assert current.shape == (40, 1000, 4)
    assert current.dtype == torch.float64
    assert float(current.min()) >= 0
    assert 2 < float(current.max()) <= 3
    # Each has something to say for each neuron, and no two say the same.
    assert bool((current.amax(1) > 0.2).all())
    flat = current[:, :, [0, 2]].transpose(1, 2).flatten(0, 1)
    distance = torch.cdist(flat, flat) + torch.eye(80) * 1e9
    assert float(distance.min()) > 0.5
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_same_seed_same_currents_and_finer_steps_the_same_shapes() -> None:
    coarse = stimuli([2, 1], FORTY[:8], dt_ms=0.5, seed=1).current_pA
    assert torch.equal(coarse, stimuli([2, 1], FORTY[:8], dt_ms=0.5, seed=1).current_pA)
    assert not torch.equal(coarse, stimuli([2, 1], FORTY[:8], dt_ms=0.5, seed=2).current_pA)
    assert torch.equal(coarse[:3], stimuli([2, 1], FORTY[:3], dt_ms=0.5, seed=1).current_pA)
    fine = stimuli([2, 1], FORTY[:8], dt_ms=0.1, seed=1).current_pA
    # Sample 2 of five lies in the middle of the coarse step.
    torch.testing.assert_close(fine[:, 2::5], coarse)


def test_a_group_shares_its_shape_and_rests_first() -> None:
    current = stimuli([2, 2], FORTY[:8], dt_ms=0.5, seed=0).current_pA
    for left, right, other in ((0, 1, 2), (2, 3, 0)):
        ratio = current[..., right].sum(1) / current[..., left].sum(1)
        torch.testing.assert_close(current[..., right], current[..., left] * ratio[:, None])
        assert 0.8 <= float(ratio.min()) <= float(ratio.max()) <= 1.25
        correlation = [
            float(torch.corrcoef(torch.stack([a, b]))[0, 1]) for a, b in zip(current[..., left], current[..., other], strict=True)
        ]
        assert min(correlation) < 0.9
    assert not current[:, :20].any()


def test_kinds_are_what_they_are_called() -> None:
    current = dict(zip(KINDS, stimuli([1], KINDS, dt_ms=0.1, duration_ms=500, seed=3).current_pA[..., 0], strict=True))
    for kind in ("step", "pulse", "pulse train"):
        jumps = int((current[kind].diff().abs() > 1e-9).sum())
        assert (jumps >= 5) if kind == "pulse train" else (1 <= jumps <= 6), kind
        assert len(current[kind].unique()) <= 6, kind
    assert len(current["pulse"].unique()) == 2
    bends = {kind: int((current[kind].diff().diff().abs() > 1e-6).sum()) for kind in ("ramp", "noise")}
    # A corner between two samples bends two differences.
    assert 8 <= bends["noise"] <= 50
    assert 2 <= bends["ramp"] <= 16

    def crossings(values: torch.Tensor) -> list[int]:
        above = values > values.max() / 2
        return (above[1:] != above[:-1]).nonzero().flatten().tolist()

    periods = np.diff(crossings(current["sine"])[::2])
    assert periods.std() <= 1.01
    periods = np.diff(crossings(current["chirp"]))
    assert len(periods) >= 2
    assert (np.diff(periods) < 0).all() or (np.diff(periods) > 0).all()


def test_sines_and_chirps_start_after_a_short_rest_and_stay_below_14_hz() -> None:
    sines, chirps = (stimuli([1], [kind] * 40, dt_ms=0.1, seed=5).current_pA[..., 0] for kind in ("sine", "chirp"))
    first = 0.1 * torch.stack([(wave > 0).int().argmax() for wave in sines])
    assert 10 <= float(first.min()) < 15
    assert 55 < float(first.max()) <= 60.1
    shortest = 500.0
    for wave in (*sines, *chirps):
        above = wave > wave.max() / 2
        halves = (above[1:] != above[:-1]).nonzero().flatten().diff() * 0.1
        shortest = min(shortest, float(halves.min()) if len(halves) else 500.0)
    assert 1000 / 14 / 2 < shortest < 50


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"kinds: expected one of step, ramp, .*, got 'square'"):
        stimuli([1], ["square"])
    with pytest.raises(ValueError, match="kinds: expected one kind or more"):
        stimuli([1], [])
    with pytest.raises(ValueError, match="groups: expected one number"):
        stimuli([], ["step"])
    for name in ("dt_ms", "duration_ms", "amplitude_pA"):
        with pytest.raises(ValueError, match=f"{name}: expected a number above 0, got 0"):
            stimuli([1], ["step"], **{name: 0})
    for dt_ms, duration_ms in ((10, 4), (0.3, 500)):
        with pytest.raises(ValueError, match=f"duration_ms: expected a whole number of steps of {dt_ms}.* ms, got {duration_ms}"):
            stimuli([1], ["sine"], dt_ms=dt_ms, duration_ms=duration_ms)


def test_scenarios_are_of_neurons_that_the_worm_has() -> None:
    worm = Worm("c302-C1")
    sizes = {"fcm": (4, 4), "fcm16": (4, 16), "fcm-no-avb": (2, 4), "fcm-no-ava": (4, 4), "nictation": (6, 12)}
    assert list(SCENARIOS) == list(sizes)
    for name, (inputs, outputs) in sizes.items():
        one = SCENARIOS[name]
        assert (len(set(one.input_names)), len(set(one.outputs))) == (inputs, outputs)
        left = worm.without(one.ablate).neuron_name
        assert set(one.input_names) | set(one.outputs) <= set(left)
        assert not set(one.input_names) & set(one.outputs)
        assert len(one.reason) > 50
    assert SCENARIOS["fcm16"].outputs[:4] == SCENARIOS["fcm"].outputs == ("DB1", "LUAL", "PVR", "VB1")
    assert SCENARIOS["fcm"].input_names == ["PLML", "PLMR", "AVBL", "AVBR"]
    with pytest.raises(ValueError, match=r"scenario: expected one of fcm, .*, got 'backward'"):
        Waveforms("backward")


def test_splits_have_different_kinds() -> None:
    kinds = [kind for split in KINDS_OF_SPLIT.values() for kind in split]
    assert sorted(kinds) == sorted(KINDS)
