from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from elegans_pyg.models import ReducedOrder
from elegans_pyg.training import sequences
from elegans_pyg.training.sequences import SequenceFitConfig, fit_sequences, replica_rmse


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


def model(cell: str = "gru", replicas: int = 1, seeds: int | list[int] = 0, executor: str = "fused") -> ReducedOrder:
    return ReducedOrder(cell, 2, 2, 3, replicas, seeds, executor).double()


def one_run_by_hand(cell: str, seed: int, epochs: int, rate: float, clip: float | None) -> tuple[list[float], list[float], Tensor]:
    """A plain loop over one model, with the validation after each epoch."""
    net = model(cell, seeds=seed, executor="torch")
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


@pytest.mark.parametrize("executor", ["torch", "fused"])
@pytest.mark.parametrize(("cell", "clip"), [("rnn", None), ("lstm", 0.02), ("gru", None)])
def test_replicas_are_independent_runs(cell: str, clip: float | None, executor: str) -> None:
    seeds, epochs = [3, 8, 5], 30
    together = model(cell, 3, seeds, executor)
    fit = fit_sequences(together, TRAIN, VALIDATION, SequenceFitConfig(epochs, learning_rate=0.1, clip_norm=clip), quiet=True)
    assert not fit.interrupted
    for replica, seed in enumerate(seeds):
        train, validation, weights = one_run_by_hand(cell, seed, epochs, 0.1, clip)
        history = fit.history[fit.history["replica"] == replica]
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
        assert history["seed"].unique().tolist() == [seed]
        assert history["train"].tolist() == pytest.approx(train, rel=1e-6)
        assert history["validation"].tolist() == pytest.approx(validation, rel=1e-6)
        assert fit.best_epoch[replica] == 1 + validation.index(min(validation))
        torch.testing.assert_close(together.weight[replica], weights[0], rtol=1e-5, atol=1e-6)


def test_ten_seeds_end_as_each_alone_bit_by_bit() -> None:
    train, validation = system(6, dtype=torch.float32), system(3, seed=1, dtype=torch.float32)
    config = SequenceFitConfig(25)
    together = ReducedOrder("gru", 2, 2, 4, 10)
    fit = fit_sequences(together, train, validation, config, quiet=True)
    for seed in (0, 4, 9):
        alone = ReducedOrder("gru", 2, 2, 4, seeds=seed)
        own = fit_sequences(alone, train, validation, config, quiet=True)
        assert own.best_epoch[0] == fit.best_epoch[seed]
        for name, parameter in alone.named_parameters():
            assert torch.equal(parameter[0], together.get_parameter(name)[seed]), name


def test_it_learns() -> None:
    net = model(replicas=2)
    fit = fit_sequences(net, system(20), VALIDATION, SequenceFitConfig(300, learning_rate=0.02), quiet=True)
    with torch.no_grad():
        final = replica_rmse(net(VALIDATION[0]), VALIDATION[1])
    best = fit.history.groupby("replica")["validation"].min()
    assert final.tolist() == pytest.approx(best.tolist(), rel=1e-9)
    assert float(final.max()) < 0.1 * float(VALIDATION[1].std())


def test_more_sequences_than_a_batch_are_shuffled_alike_for_all_replicas() -> None:
    config = SequenceFitConfig(4, batch_size=4, data_seed=3)
    together, alone = model(replicas=2), model(seeds=1)
    fit = fit_sequences(together, TRAIN, VALIDATION, config, quiet=True)
    fit_sequences(alone, TRAIN, VALIDATION, config, quiet=True)
    assert torch.equal(alone.weight[0], together.weight[1])
    other = model(seeds=1)
    fit_sequences(other, TRAIN, VALIDATION, SequenceFitConfig(4, batch_size=4, data_seed=4), quiet=True)
    assert not torch.equal(alone.weight, other.weight)
    by_hand = model(replicas=2, executor="torch")
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.05, eps=1e-7)
    total = torch.zeros(2, dtype=torch.float64)
    for batch in torch.randperm(6, generator=torch.Generator().manual_seed(3 * 1_000_003)).split(4):
        losses = replica_rmse(by_hand(TRAIN[0][batch]), TRAIN[1][batch])
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        total += len(batch) * losses.detach()
    assert fit.history["train"][:2].tolist() == pytest.approx((total / 6).tolist(), rel=1e-9)


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(3), tmp_path / "checkpoint", quiet=True)
    # The same numbers in other columns: of equal shape and sum.
    other = (TRAIN[0].flip(2), TRAIN[1])
    with pytest.raises(ValueError, match=r"checkpoint: .* is of another fit, its data is"):
        fit_sequences(model(), other, VALIDATION, SequenceFitConfig(5), tmp_path / "checkpoint", resume=True, quiet=True)


def test_data_of_another_precision_or_length() -> None:
    single = tuple(part.float() for part in TRAIN)
    assert not fit_sequences(model(), single, VALIDATION, SequenceFitConfig(2), quiet=True).interrupted
    with pytest.raises(ValueError, match="validation: expected the 40 steps of train, got 30; cut both alike"):
        fit_sequences(model(), TRAIN, tuple(part[:, :30] for part in VALIDATION), SequenceFitConfig(2), quiet=True)
    with pytest.raises(TypeError, match=r"epochs: expected a whole number, got 2\.5"):
        SequenceFitConfig(2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [7, 20])
def test_a_resumed_fit_ends_like_one_that_was_not_stopped(tmp_path: Path, stop: int) -> None:
    whole, parts = model("lstm", 2), model("lstm", 2)
    expected = fit_sequences(whole, TRAIN, VALIDATION, SequenceFitConfig(20), quiet=True)
    fit_sequences(parts, TRAIN, VALIDATION, SequenceFitConfig(stop), tmp_path / "checkpoint", quiet=True)
    again = model("lstm", 2)
    found = fit_sequences(again, TRAIN, VALIDATION, SequenceFitConfig(20), tmp_path / "checkpoint", resume=True, quiet=True)
    assert found.best_epoch == expected.best_epoch
    assert torch.equal(torch.tensor(found.history.to_numpy()), torch.tensor(expected.history.to_numpy()))
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))


def test_ctrl_c_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(12), quiet=True)
    real, epochs = sequences._Fit._train_epoch, []

    def interrupting(self: sequences._Fit) -> None:
        real(self)
        epochs.append(self.epoch)
        if self.epoch == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sequences._Fit, "_train_epoch", interrupting)
    fit = fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(12), tmp_path / "checkpoint", quiet=True)
    assert fit.interrupted
    assert len(fit.history) == 5
    fit = fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(12), tmp_path / "checkpoint", resume=True, quiet=True)
    assert not fit.interrupted
    assert epochs == list(range(1, 13))
    assert fit.history.equals(expected.history)


def test_a_replica_that_diverges_leaves_the_others_alone() -> None:
    net, alone = model(replicas=2, seeds=[0, 1]), model(seeds=1)
    with torch.no_grad():
        net.offset[0] = float("inf")
    fit = fit_sequences(net, TRAIN, VALIDATION, SequenceFitConfig(5), quiet=True)
    fit_sequences(alone, TRAIN, VALIDATION, SequenceFitConfig(5), quiet=True)
    assert fit.best_epoch[0] == 0
    assert torch.equal(net.weight[1], alone.weight[0])


def test_another_fits_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(3), folder, quiet=True)
    with pytest.raises(ValueError, match="is of another fit, its settings is"):
        fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(3, clip_norm=1.0), folder, resume=True, quiet=True)
    with pytest.raises(ValueError, match="is of another fit, its model is"):
        fit_sequences(model(seeds=1), TRAIN, VALIDATION, SequenceFitConfig(3), folder, resume=True, quiet=True)
    with pytest.raises(ValueError, match="is of another fit, its data is"):
        fit_sequences(model(), VALIDATION, TRAIN, SequenceFitConfig(3), folder, resume=True, quiet=True)
    with pytest.raises(ValueError, match="epochs: expected at least the 3 that"):
        fit_sequences(model(), TRAIN, VALIDATION, SequenceFitConfig(2), folder, resume=True, quiet=True)


def test_wrong_data_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="train: expected inputs"):
        fit_sequences(model(), (TRAIN[0], TRAIN[1][:, 1:]), VALIDATION)
    with pytest.raises(ValueError, match="validation: expected finite numbers, got NaN or infinity among the outputs"):
        fit_sequences(model(), TRAIN, (VALIDATION[0], VALIDATION[1] * float("nan")))
    for name in ("epochs", "batch_size", "checkpoint_every"):
        with pytest.raises(ValueError, match=f"{name}: expected 1 or more, got 0"):
            SequenceFitConfig(**{name: 0})
    with pytest.raises(ValueError, match="clip_norm: expected a number above 0, got -1"):
        SequenceFitConfig(clip_norm=-1)


def test_gradients_run_back_through_all_of_5000_steps() -> None:
    # Update gates that hold on, a current in the first 10 steps and a loss on the last: all of it has to come back through 4,990 steps.
    x = torch.zeros(1, 5000, 2, dtype=torch.float64)
    x[:, :10] = 1
    grads = {}
    for executor in ("fused", "torch"):
        net = ReducedOrder("gru", 2, 2, 4, 2, executor=executor).double()
        with torch.no_grad():
            net.bias[:, :4] = 8
        net(x)[:, :, -1].sum().backward()
        grads[executor] = net.weight.grad[:, :, :2]
    assert float(grads["fused"].abs().max()) > 1e-6
    torch.testing.assert_close(grads["fused"], grads["torch"], rtol=1e-6, atol=1e-12)
