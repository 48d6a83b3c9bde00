# pyright: basic
"""The one training loop: for teachers, for distillation and for fine-tuning.

A run is a function of its seed. The order of the data comes from (seed, stage, epoch), the
learning rate from the step, and after an epoch everything else is in one file: whoever goes on
from there, after Ctrl-C or a power cut, ends with the same weights, bit for bit.
"""

from __future__ import annotations

import functools
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError, Interrupted, listed
from snn2hw.train.augmenting import augmented
from snn2hw.train.checkpoint import (
    identity,
    part_of,
    read_checkpoint,
    restoring,
    state_path,
    write_checkpoint,
)
from snn2hw.train.devices import Devices, plain_batch_norm, share_batch_norm
from snn2hw.train.evaluation import Teaching, evaluate, outputs_of, placed, tensor
from snn2hw.train.events import write_events
from snn2hw.train.job import Job, Progress, Silent
from snn2hw.train.log import write_log
from snn2hw.train.memory import kept_memory
from snn2hw.train.methods import Outputs
from snn2hw.train.rates import rate_outputs
from snn2hw.train.showing import shown
from snn2hw.train.state import flatten_optimizer, not_finite, restore_optimizer
from snn2hw.train.students import Spiking

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}
# The fastest of so many steps is taken for the rest: the first one compiles.
FORECAST_STEPS = 3
# Between two checkpoints passes this many times what writing one takes, or more.
SAVE_EVERY = 10.0
# Steps between two looks at the weights, which then cost little of a step each.
LOOK_EVERY = 16


def fit(
    job: Job,
    network: nn.Module,
    dataset: Dataset,
    run_dir: Path | None,
    *,
    teacher: nn.Module | None = None,
    progress: Progress | None = None,
    devices: Devices | None = None,
) -> list[dict[str, Any]]:
    """Train a network in place, from its checkpoint in ``run_dir`` if there is one.

    Args:
        job: what to train and how long.
        network: takes integer samples, returns logits ``[B, classes]``.
        dataset: samples; the test part is only measured.
        run_dir: where ``log.jsonl`` and ``checkpoint/<stage>.state.safetensors`` go; None for
            neither.
        teacher: its outputs go to the objective.
        progress: told after every step.
        devices: where to train.

    Returns:
        One record for each epoch, as in ``log.jsonl``.

    Raises:
        Interrupted: Ctrl-C; the same call goes on from the last epoch that was saved.
        InputError: the checkpoint belongs to another job, teacher and student do not fit, or the
            training diverged: the loss, or what the network holds, is NaN or infinite.
    """
    try:
        with kept_memory():
            return _Run(job, network, dataset, run_dir, teacher, progress, devices).all()
    except KeyboardInterrupt:
        there = run_dir is not None and (run_dir / "checkpoint").exists()
        kept = f" The epochs so far are in {run_dir / 'checkpoint'}." if run_dir and there else ""
        raise Interrupted(
            f"Stopped in stage {job.stage!r}.{kept}",
            ("The same command goes on from there." if there else "Give the same command again.")
            if run_dir
            else "",
        ) from None
    finally:
        plain_batch_norm(network)


class _Lesson(nn.Module):
    """Network and objective as one module: what several processes must compute alike."""

    def __init__(self, network: nn.Module, job: Job) -> None:
        super().__init__()
        self.network, self.objective = network, job.objective
        self.scale = job.scale
        self.by_rates = job.gradient == "rate"

    def forward(
        self, x: Tensor, targets: Tensor, taught: Outputs | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the parts of the loss, and which samples were right ``[B]``."""
        found = self._run(x)
        parts = self.objective(found, taught, targets)
        return parts, found.logits.detach().argmax(-1) == targets

    def _run(self, x: Tensor) -> Outputs:
        if self.by_rates:
            return rate_outputs(self.network, x, self.scale)
        only = None
        if isinstance(self.network, Spiking):
            only = self.objective.looks_at(self.network.stages(), self.network.populations())
        return outputs_of(self.network, x, self.scale, only)


class _Run:
    """One call of ``fit``."""

    def __init__(
        self,
        job: Job,
        network: nn.Module,
        dataset: Dataset,
        run_dir: Path | None,
        teacher: nn.Module | None,
        progress: Progress | None,
        devices: Devices | None,
    ) -> None:
        side = min(dataset.shape[1:])
        if job.shift > side:
            raise InputError(
                f"Images are to be shifted by up to {job.shift} pixels; their side is {side}.",
                "Take a smaller shift.",
            )
        self.job, self.dataset, self.run_dir = job, dataset, run_dir
        self.plain = network
        self.progress = progress or Silent()
        self.history: list[dict[str, Any]] = []
        self.next_save = 0.0
        self.fabric = (devices or Devices()).fabric()
        self.leads = self.fabric.is_global_zero
        self.checkpoint = state_path(run_dir, job.stage) if run_dir else None
        self.steps = -(-len(dataset.x_train) // job.batch)
        self.total = job.epochs * self.steps
        self.identity = identity(job, network, dataset)
        device = self.fabric.device
        self.images = tensor(dataset.x_train, device)
        self.targets = torch.from_numpy(dataset.y_train).to(device)
        self.teaching = None
        if teacher is not None:
            with self.fabric.autocast():
                self.teaching = Teaching(
                    teacher,
                    self.images,
                    still=job.still,
                    scale=job.scale,
                    stages=job.objective.stages,
                )
        self._resume()

    def _resume(self) -> None:
        network = placed(self.plain, self.fabric.device)
        structure = self.job.structure
        self._prepare_objective()
        share_batch_norm(network, self.fabric.world_size)
        lesson = _Lesson(network, self.job)
        groups = _groups(lesson, self.job.weight_decay)
        optimizer = _OPTIMIZERS[self.job.optimizer](groups, lr=self.job.lr)
        saved = self._read_checkpoint()
        if self.checkpoint is not None and saved is not None:
            with restoring(self.checkpoint):
                _restore(network, saved, "model.")
                _restore(self.job.objective, saved, "objective.")
                structure.restore(part_of(saved, "structure."))
        self.lesson, self.optimizer = self.fabric.setup(lesson, optimizer)
        if self.checkpoint is not None and saved is not None:
            with restoring(self.checkpoint):
                restore_optimizer(self.optimizer.optimizer, part_of(saved, "optimizer."))
        self._write_log()

    def _prepare_objective(self) -> None:
        """Build what the objective trains beside the student, from one small batch."""
        network, rows = self.plain, torch.arange(min(2, len(self.images)))
        was_training = network.training
        network.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.job.seed)
            found = outputs_of(network, self._shown(self.images[rows], rows), self.job.scale)
            taught = self._taught(self.images[rows], rows)
            self.job.objective.prepare(found, taught)
        self.job.objective.to(self.fabric.device)
        network.train(was_training)

    def _read_checkpoint(self) -> dict[str, Tensor] | None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        tensors, self.history = read_checkpoint(self.checkpoint, self.identity)
        return tensors

    def all(self) -> list[dict[str, Any]]:
        """Run the epochs that are left."""
        left = range(len(self.history), self.job.epochs)
        if left:
            self._forecast(len(left))
        for epoch in left:
            started = time.monotonic()
            self.job.structure.before_epoch(epoch)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_seed(self.job.seed, f"{self.job.stage}/loss", epoch))
                row = self._epoch(epoch)
            self._finish(epoch, row, started)
        self.job.structure.finish()
        return self.history

    def _forecast(self, epochs: int) -> None:
        """Say what the run will cost, from a few steps that change nothing."""
        rows = torch.arange(min(self.job.batch, len(self.images)))
        rows = rows[self.fabric.global_rank :: self.fabric.world_size]
        buffers = [(b, b.clone()) for b in self.lesson.buffers()]
        self.lesson.train()
        seconds = math.inf
        with torch.random.fork_rng(devices=[]):
            for _ in range(FORECAST_STEPS):
                started = time.monotonic()
                self._gradients(rows, self.images[rows], 0, self.job.batch)
                seconds = min(seconds, time.monotonic() - started)
        self.optimizer.zero_grad()
        for buffer, before in buffers:
            buffer.copy_(before)
        forecast = {"samples_per_second": self.job.batch / seconds, "epochs": epochs,
                    "seconds": epochs * self.steps * seconds}  # fmt: skip
        self.progress.update(self.job.stage, self.total - epochs * self.steps, self.total,
                             forecast=forecast)  # fmt: skip

    def _epoch(self, epoch: int) -> dict[str, float]:
        """Train for one epoch and return the means of it."""
        job = self.job
        generator = torch.Generator().manual_seed(_seed(job.seed, job.stage, epoch))
        order = torch.randperm(len(self.images), generator=generator).to(self.images.device)
        sums: dict[str, float] = {}
        self.lesson.train()
        for at in range(self.steps):
            batch = order[at * job.batch : (at + 1) * job.batch]
            if len(batch) < 2 * self.fabric.world_size:  # batch norm has no variance of one sample
                continue
            step = epoch * self.steps + at
            x = augmented(self.images[batch], job.shift, job.flip, job.cutout, generator)
            mine = slice(self.fabric.global_rank, None, self.fabric.world_size)
            self._set_rate(step)
            parts, right = self._gradients(batch[mine], x[mine], epoch, len(batch))
            job.structure.after_backward(step, self.total)
            self.optimizer.step()
            job.structure.after_step(self.optimizer.optimizer)
            found = {**parts, "right": right, "samples": len(batch[mine])}
            for key, value in found.items():
                sums[key] = sums.get(key, 0.0) + value
            # A membrane that is NaN never spikes, so the loss stays finite.
            if (at + 1) % LOOK_EVERY == 0:
                self._check_network(epoch)
            loss = sums["loss"] / sums["samples"]
            self.progress.update(job.stage, step + 1, self.total, loss=loss)
        if self.fabric.world_size > 1:
            values: Any = torch.tensor(list(sums.values()), dtype=torch.float64)
            values = self.fabric.all_reduce(values, reduce_op="sum")
            sums = dict(zip(sums, values.tolist(), strict=True))
        samples = max(sums.pop("samples", 0.0), 1.0)
        return {k: v / samples for k, v in sums.items()}

    def _gradients(
        self, rows: Tensor, x: Tensor, epoch: int, total: int
    ) -> tuple[dict[str, float], float]:
        """Compute gradients for this process's ``rows`` of a batch of ``total`` samples.

        Returns the loss and its parts, times the samples they are of, and how many were right.
        """
        parts, right = self.lesson(
            self._shown(x, rows, epoch + 1), self.targets[rows], self._taught(x, rows)
        )
        penalty = self.job.structure.penalty()
        if penalty is not None:
            parts = parts | {"penalty": penalty}
        loss = torch.stack([p.float() for p in parts.values()]).sum()
        self.optimizer.zero_grad()
        # Processes average their gradients: with parts of unequal size, by their size.
        self.fabric.backward(loss * (len(rows) * self.fabric.world_size / total))
        values = {"loss": loss, **(parts if len(parts) > 1 else {}), "right": right.sum()}
        # One wait for the device, not one for each number.
        numbers = torch.stack([v.detach().double() for v in values.values()]).tolist()
        *means, correct = numbers
        return {k: v * len(rows) for k, v in zip(values, means, strict=False)}, correct

    def _shown(self, x: Tensor, rows: Tensor, epoch: int = 0) -> Tensor:
        return shown(self.job.show, x, rows, epoch)

    def _taught(self, x: Tensor, rows: Tensor) -> Outputs | None:
        if self.teaching is None:
            return None
        with self.fabric.autocast():
            return self.teaching.of(x, rows)

    def _set_rate(self, step: int) -> None:
        # A function of the step alone, so there is no schedule to save.
        warm = min(1.0, (step + 1) / max(1.0, 0.02 * self.total))
        rate = self.job.lr * warm * 0.5 * (1.0 + math.cos(math.pi * step / self.total))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _finish(self, epoch: int, row: dict[str, float], started: float) -> None:
        if not math.isfinite(row["loss"]):
            raise self._diverged(epoch, f"loss {row['loss']}")
        self._check_network(epoch)
        self.job.objective.after_epoch(row)
        self.fabric.barrier()
        with self.fabric.autocast():
            data = self.dataset
            test = evaluate(self.plain, data.x_test, data.y_test, show=self.job.show)
        self.history.append(
            {
                "stage": self.job.stage,
                "epoch": epoch,
                "loss": row.pop("loss"),
                "train_accuracy": row.pop("right"),
                "test_accuracy": test.accuracy,
                "spikes_per_sample": test.spikes_per_sample,
                "seconds": round(time.monotonic() - started, 3),
                **({"parts": row} if row else {}),
            }
        )
        if self.leads:
            # A run that is resumed from before the last epoch repeats the ones since.
            if epoch + 1 == self.job.epochs or time.monotonic() >= self.next_save:
                self._save()
            self._write_log()
        info: dict[str, Any] = {"loss": self.history[-1]["loss"], "accuracy": test.accuracy}
        if isinstance(self.plain, Spiking):
            info["spikes"] = test.spikes_per_sample
            # Not at once: batch norm's running statistics need some steps.
            if epoch in (self.job.epochs // 10, self.job.epochs - 1):
                info["doubts"] = test.doubts(self.plain.steps(self.images))
        self.progress.update(
            self.job.stage, (epoch + 1) * self.steps, self.total, epoch=epoch, **info
        )

    def _check_network(self, epoch: int) -> None:
        broken = not_finite(self.plain.state_dict())
        if broken:
            raise self._diverged(epoch, f"NaN or infinity in {listed(broken, most=300)}")

    def _diverged(self, epoch: int, how: str) -> InputError:
        another = ", under another name" if self.run_dir else ""
        return InputError(
            f"Training diverged in stage {self.job.stage!r}, epoch {epoch}: {how}.",
            f"Use a lower learning rate than {self.job.lr}{another}.",
        )

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        started = time.monotonic()
        held = {
            "model": self.plain.state_dict(),
            "objective": self.job.objective.state_dict(),
            "structure": self.job.structure.state(),
            "optimizer": flatten_optimizer(self.optimizer.optimizer),
        }
        write_checkpoint(self.checkpoint, held, self.identity, self.history)
        ended = time.monotonic()
        self.next_save = ended + SAVE_EVERY * (ended - started)

    def _write_log(self) -> None:
        # The checkpoint is the truth: after a kill between the two files, this repairs the log.
        if self.run_dir is None or not self.leads:
            return
        write_log(self.run_dir / "log.jsonl", self.job.stage, self.history)
        if self.job.tensorboard:
            write_events(self.run_dir / "tensorboard", self.job.stage, self.history)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _restore(network: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    network.load_state_dict(part_of(tensors, prefix))


def _seed(seed: int, stage: str, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
