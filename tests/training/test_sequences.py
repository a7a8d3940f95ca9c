from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from elegans_pyg.models import ReducedOrder
from elegans_pyg.training import FitResult, TrainingError, fit
from elegans_pyg.training.data import FitData, Pair
from elegans_pyg.training.objective import SequenceRegression, epoch_table, replica_rmse
from elegans_pyg.training.settings import FitSettings, SequenceSettings
from elegans_pyg.training.trainer import Trainer


def system(count: int, steps: int = 40, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two leaky units with a bend, driven by slow random currents: what is to be learned."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, steps, 2, generator=generator, dtype=torch.float64).cumsum(1) / steps**0.5
    state, outputs = torch.zeros(count, 2, dtype=torch.float64), []
    for step in x.unbind(1):
        state = state + 0.2 * (torch.tanh(step + 0.4 * state.flip(1)) - state)
        outputs.append(state)
    return x.to(dtype), torch.stack(outputs, 1).to(dtype)


TRAIN, VALIDATION = system(6), system(3, seed=1)


def model(cell: str = "gru", replicas: int = 1, seeds: int | list[int] = 0, backend: str = "fused") -> ReducedOrder:
    return ReducedOrder(cell, 2, 2, 3, replicas, seeds, backend).double()


@dataclass
class Fit:
    """A result of :func:`fit`, in epochs."""

    result: FitResult
    history: pd.DataFrame
    best_epoch: list[int]


def fit_sequences(net: ReducedOrder, train: Pair, validation: Pair, out: Path | None = None, resume: bool = False, **settings: Any) -> Fit:
    """Validation sequences are tested on too: what matters here is the training."""
    config, double = SequenceSettings(**settings), net.weight.dtype == torch.float64
    steps, data = config.steps(len(train[0])), FitData("waves", train, validation, validation)
    options = config.fit_settings(net.cell, len(train[0]), "float64" if double else "float32")
    table = pd.DataFrame({"variant": range(net.replicas), "family": net.cell, "wiring_seed": 0, "seed": net.seeds})
    result = fit(net, data, options, objective=SequenceRegression(), variants=table, out=out, resume=resume, quiet=True)
    return Fit(result, epoch_table(result.metrics, steps), (result.tested_at // steps).tolist())


def one_run_by_hand(cell: str, seed: int, epochs: int, rate: float, clip: float | None) -> tuple[list[float], list[float], Tensor]:
    """A plain loop over one model, with the validation after each epoch."""
    net = model(cell, seeds=seed, backend="reference")
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, eps=1e-7)
    train, validation, best, weights = [], [], float("inf"), net.weight.detach()
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(TRAIN[0])[0], TRAIN[1]).sqrt()
        loss.backward()
        if clip is not None:
            norm = torch.cat([parameter.grad.flatten() for parameter in net.parameters()]).norm()
            for parameter in net.parameters():
                parameter.grad *= min(1.0, clip / float(norm))
        optimizer.step()
        train.append(loss.item())
        with torch.no_grad():
            validation.append(torch.nn.functional.mse_loss(net(VALIDATION[0])[0], VALIDATION[1]).sqrt().item())
        if validation[-1] < best:
            best, weights = validation[-1], net.weight.detach().clone()
    return train, validation, weights


@pytest.mark.parametrize("backend", ["reference", "fused"])
@pytest.mark.parametrize(("cell", "clip"), [("rnn", None), ("lstm", 0.02), ("gru", None)])
def test_replicas_are_independent_runs(cell: str, clip: float | None, backend: str) -> None:
    seeds, epochs = [3, 8, 5], 30
    together = model(cell, 3, seeds, backend)
    found = fit_sequences(together, TRAIN, VALIDATION, epochs=epochs, learning_rate=0.1, clip_norm=clip)
    assert not found.result.interrupted
    for replica, seed in enumerate(seeds):
        train, validation, weights = one_run_by_hand(cell, seed, epochs, 0.1, clip)
        history = found.history[found.history["replica"] == replica]
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
        assert history["seed"].unique().tolist() == [seed]
        assert history["train"].tolist() == pytest.approx(train, rel=1e-6)
        assert history["validation"].tolist() == pytest.approx(validation, rel=1e-6)
        assert found.best_epoch[replica] == 1 + validation.index(min(validation))
        torch.testing.assert_close(together.weight[replica], weights[0], rtol=1e-5, atol=1e-6)


def test_ten_seeds_end_as_each_alone_bit_by_bit() -> None:
    train, validation = system(6, dtype=torch.float32), system(3, seed=1, dtype=torch.float32)
    together = ReducedOrder("gru", 2, 2, 4, 10)
    found = fit_sequences(together, train, validation, epochs=25)
    for seed in (0, 4, 9):
        alone = ReducedOrder("gru", 2, 2, 4, seeds=seed)
        own = fit_sequences(alone, train, validation, epochs=25)
        assert own.best_epoch[0] == found.best_epoch[seed]
        for name, parameter in alone.named_parameters():
            assert torch.equal(parameter[0], together.get_parameter(name)[seed]), name


def test_it_learns() -> None:
    net = model(replicas=2)
    found = fit_sequences(net, system(20), VALIDATION, epochs=300, learning_rate=0.02)
    with torch.no_grad():
        final = replica_rmse(net(VALIDATION[0]), VALIDATION[1])
    best = found.history.groupby("replica")["validation"].min()
    assert final.tolist() == pytest.approx(best.tolist(), rel=1e-9)
    assert float(final.max()) < 0.1 * float(VALIDATION[1].std())


def test_more_sequences_than_a_batch_are_shuffled_alike_for_all_replicas() -> None:
    config = {"epochs": 4, "batch_size": 4, "data_seed": 3}
    together, alone = model(replicas=2), model(seeds=1)
    found = fit_sequences(together, TRAIN, VALIDATION, **config)
    fit_sequences(alone, TRAIN, VALIDATION, **config)
    assert torch.equal(alone.weight[0], together.weight[1])
    other = model(seeds=1)
    fit_sequences(other, TRAIN, VALIDATION, epochs=4, batch_size=4, data_seed=4)
    assert not torch.equal(alone.weight, other.weight)
    by_hand = model(replicas=2, backend="reference")
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.05, eps=1e-7)
    total = torch.zeros(2, dtype=torch.float64)
    for batch in torch.randperm(6, generator=torch.Generator().manual_seed(3 * 1_000_003)).split(4):
        losses = replica_rmse(by_hand(TRAIN[0][batch]), TRAIN[1][batch])
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        total += len(batch) * losses.detach()
    assert found.history["train"][:2].tolist() == pytest.approx((total / 6).tolist(), rel=1e-9)


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    fit_sequences(model(), TRAIN, VALIDATION, tmp_path, epochs=3)
    # The same numbers in other columns: of equal shape and sum.
    other = (TRAIN[0].flip(2), TRAIN[1])
    with pytest.raises(ValueError, match=r"dataset\.sha256 was"):
        fit_sequences(model(), other, VALIDATION, tmp_path, True, epochs=5)


def test_data_of_another_precision_or_length() -> None:
    single = tuple(part.float() for part in TRAIN)
    assert not fit_sequences(model(), single, VALIDATION, epochs=2).result.interrupted
    with pytest.raises(ValueError, match=r"validation: expected sequences of \(40, 2\) like those of train, got \(30, 2\); give all the"):
        fit_sequences(model(), TRAIN, (VALIDATION[0][:, :30], VALIDATION[1][:, :30]), epochs=2)
    with pytest.raises(ValueError, match=r"epochs: expected a whole number, got 2\.5"):
        SequenceSettings(epochs=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [7, 20])
def test_a_resumed_fit_ends_like_one_that_was_not_stopped(tmp_path: Path, stop: int) -> None:
    whole, parts = model("lstm", 2), model("lstm", 2)
    expected = fit_sequences(whole, TRAIN, VALIDATION, epochs=20)
    fit_sequences(parts, TRAIN, VALIDATION, tmp_path, epochs=stop)
    again = model("lstm", 2)
    found = fit_sequences(again, TRAIN, VALIDATION, tmp_path, True, epochs=20)
    assert found.best_epoch == expected.best_epoch
    assert torch.equal(torch.tensor(found.history.to_numpy()), torch.tensor(expected.history.to_numpy()))
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))


def test_ctrl_c_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit_sequences(model(), TRAIN, VALIDATION, epochs=12)
    real, epochs = Trainer.step, []

    def interrupting(self: Trainer, *beside: Any) -> None:
        real(self, *beside)
        epochs.append(self.iteration)
        if self.iteration == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", interrupting)
    found = fit_sequences(model(), TRAIN, VALIDATION, tmp_path, epochs=12)
    assert found.result.interrupted
    assert len(found.history) == 4
    found = fit_sequences(model(), TRAIN, VALIDATION, tmp_path, True, epochs=12)
    assert not found.result.interrupted
    assert epochs == list(range(1, 13))
    assert found.history.equals(expected.history)


def test_a_replica_that_diverges_leaves_the_others_alone(tmp_path: Path) -> None:
    net, alone = model(replicas=2, seeds=[0, 1]), model(seeds=1)
    with torch.no_grad():
        net.offset[0] = float("inf")
    fit_sequences(net, TRAIN, VALIDATION, tmp_path, epochs=3)
    found = fit_sequences(net, TRAIN, VALIDATION, tmp_path, True, epochs=5)
    fit_sequences(alone, TRAIN, VALIDATION, epochs=5)
    assert found.best_epoch[0] == 0
    assert found.result.stopped == {0: "non-finite loss at iteration 1"}
    with pytest.raises(TrainingError, match="all 1 variants stopped"):
        fit_sequences(model(seeds=0), TRAIN, (VALIDATION[0], VALIDATION[1]), epochs=2, learning_rate=1e300)
    assert torch.equal(net.weight[1], alone.weight[0])


def test_another_fits_checkpoint_is_refused(tmp_path: Path) -> None:
    fit_sequences(model(), TRAIN, VALIDATION, tmp_path, epochs=3)
    with pytest.raises(ValueError, match=r"settings\.clip_norm was 0\.0 in the checkpoint and is 1\.0 now"):
        fit_sequences(model(), TRAIN, VALIDATION, tmp_path, True, epochs=3, clip_norm=1.0)
    with pytest.raises(ValueError, match=r"variants\.0\.seed was 0"):
        fit_sequences(model(seeds=1), TRAIN, VALIDATION, tmp_path, True, epochs=3)
    with pytest.raises(ValueError, match=r"variants\.0\.family was 'gru' in the checkpoint and is 'lstm' now"):
        fit_sequences(model("lstm"), TRAIN, VALIDATION, tmp_path, True, epochs=3, learning_rate=0.05)
    with pytest.raises(ValueError, match=r"dataset\.shapes\.train was"):
        fit_sequences(model(), VALIDATION, TRAIN, tmp_path, True, epochs=3)
    with pytest.raises(ValueError, match="iterations: expected at least the 3 of the checkpoint"):
        fit_sequences(model(), TRAIN, VALIDATION, tmp_path, True, epochs=2)


def test_wrong_data_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model: expected outputs of shape \(V, 6, 39, 2\) like the targets, got \(1, 6, 40, 2\)"):
        fit_sequences(model(), (TRAIN[0], TRAIN[1][:, 1:]), (VALIDATION[0], VALIDATION[1][:, 1:]))
    with pytest.raises(ValueError, match=r"train: expected as many inputs as targets, at least 1, got \(6, 40, 2\) and \(5, 40, 2\)"):
        fit_sequences(model(), (TRAIN[0], TRAIN[1][1:]), VALIDATION)
    with pytest.raises(ValueError, match="validation: expected finite numbers, got NaN or infinity among the targets"):
        fit_sequences(model(), TRAIN, (VALIDATION[0], VALIDATION[1] * float("nan")))
    for name in ("epochs", "batch_size", "checkpoint_every"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
            SequenceSettings(**{name: 0})
    with pytest.raises(ValueError, match="clip_norm: expected a number above 0, got -1"):
        SequenceSettings(clip_norm=-1)


# Training and validation RMSE of 5 epochs in two batches, two replicas beside each other, of a loop over epochs with
# torch.optim.Adam(eps=1e-7), the validation beside the next epoch's first batch, and clipping to 0.5 for the LSTM.
RECORDED = {
    "gru": (
        [0.326363652, 0.435157397, 0.253369691, 0.352084376, 0.191459895, 0.303625733, 0.135718551, 0.231773566, 0.136845968, 0.158874373],
        [0.471541488, 0.565718263, 0.309143366, 0.45568147, 0.169381217, 0.313379208, 0.148726886, 0.176713372, 0.160310014, 0.0903992627],
        [4, 5],
    ),
    "lstm": (
        [0.441227302, 0.299892161, 0.353362521, 0.258761736, 0.288220599, 0.168281558, 0.252652416, 0.126929589, 0.228505853, 0.0946471794],
        [0.499687529, 0.444428957, 0.507726984, 0.428590189, 0.478176283, 0.383768385, 0.458206282, 0.32851993, 0.43486125, 0.300652729],
        [5, 5],
    ),
    "rnn": (
        [0.908106835, 0.430445715, 0.939560117, 0.434298948, 0.919740303, 0.425043872, 0.91277326, 0.420598213, 0.893994258, 0.417933207],
        [1.25710577, 0.646893608, 1.250939, 0.64392528, 1.24484093, 0.640958864, 1.23877764, 0.638007225, 1.23274732, 0.635105471],
        [5, 5],
    ),
}


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_losses_agree_with_those_recorded_from_a_loop_over_epochs(cell: str) -> None:
    train, validation, best = RECORDED[cell]
    clip = 0.5 if cell == "lstm" else None
    found = fit_sequences(model(cell, 2, [3, 8]), TRAIN, VALIDATION, epochs=5, batch_size=4, clip_norm=clip)
    assert found.history["train"].tolist() == pytest.approx(train, rel=1e-5)
    assert found.history["validation"].tolist() == pytest.approx(validation, rel=1e-5)
    assert found.best_epoch == best


def test_gradients_run_back_through_all_of_5000_steps() -> None:
    # Update gates that hold on, a current in the first 10 steps and a loss on the last: all of it has to come back through 4,990 steps.
    x = torch.zeros(1, 5000, 2, dtype=torch.float64)
    x[:, :10] = 1
    grads = {}
    for backend in ("fused", "reference"):
        net = ReducedOrder("gru", 2, 2, 4, 2, backend=backend).double()
        with torch.no_grad():
            net.bias[:, :4] = 8
        net(x)[:, :, -1].sum().backward()
        grads[backend] = net.weight.grad[:, :, :2]
    assert float(grads["fused"].abs().max()) > 1e-6
    torch.testing.assert_close(grads["fused"], grads["reference"], rtol=1e-6, atol=1e-12)


def test_steps_of_the_washout_do_not_count() -> None:
    net, (inputs, targets) = model(), TRAIN
    changed = targets.clone()
    changed[:, :10] = 100.0
    for washout, late in ((10, targets[:, 10:]), (0, targets)):
        result = SequenceRegression(washout).measure(net, inputs, targets, "float64")  # type: ignore[arg-type]
        assert result.losses[0, 0].item() == pytest.approx((net(inputs)[0, :, washout:] - late).square().mean().item())
    with pytest.raises(ValueError, match="washout: expected 0 or more, got -1"):
        SequenceRegression(-1)
    with pytest.raises(ValueError, match="precision: expected float32 or float64 for sequences, got bfloat16"):
        fit(net, FitData("waves", TRAIN, VALIDATION), FitSettings(precision="bfloat16"), objective=SequenceRegression(), quiet=True)
    with pytest.raises(ValueError, match="washout: expected fewer than the 40 steps of a sequence, got 40; lower it"):
        SequenceRegression(40).measure(net, inputs, targets, "float64")  # type: ignore[arg-type]
    before, after = (SequenceRegression(10).measure(net, inputs, own, "float64").losses for own in (targets, changed))  # type: ignore[arg-type]
    assert torch.equal(before, after)
    both = SequenceRegression(10).measure_both(net, TRAIN, VALIDATION, "float64")  # type: ignore[arg-type]
    torch.testing.assert_close(both[0].losses, before)
    torch.testing.assert_close(both[1].losses, SequenceRegression(10).measure(net, *VALIDATION, "float64").losses)  # type: ignore[arg-type]
