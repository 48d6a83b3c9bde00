# pyright: basic
"""The one training loop: for teachers, for distillation and for fine-tuning.

A run is a function of its seed. The order of the data comes from (seed, stage, epoch), the
learning rate from the step, and after an epoch everything else is in one file: whoever goes on
from there, after Ctrl-C or a power cut, ends with the same weights, bit for bit.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError, Interrupted
from snn2hw.fields import anything, many, named, real, require, table, text, whole
from snn2hw.files import json_text, json_value, new_file, read_text, reading
from snn2hw.train.devices import Devices, plain_batch_norm, share_batch_norm
from snn2hw.train.evaluation import Teaching, evaluate, outputs_of, placed, tensor
from snn2hw.train.events import write_events
from snn2hw.train.methods import Objective, Outputs
from snn2hw.train.rates import rate_outputs
from snn2hw.train.showing import Show, shown
from snn2hw.train.state import (
    flatten_optimizer,
    read_tensors,
    restore_optimizer,
    write_tensors,
)
from snn2hw.train.structure import Structure
from snn2hw.train.students import Spiking

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}

# The fastest of so many steps is taken for the rest: the first one compiles.
FORECAST_STEPS = 3
START_AGAIN = "Remove it, and give the command again: the stage starts anew."
_ROW = table({"stage": text(), "epoch": whole(0), "loss": real(), "seconds": real(0)})
_FACTS = table({"job": named(anything), "history": many(_ROW)})
# Between two checkpoints passes this many times what writing one takes, or more.
SAVE_EVERY = 10.0


class Progress(Protocol):
    """Told how far a stage is; ``info`` holds loss, accuracy and the like."""

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Report that ``done`` of ``total`` steps of a stage are over."""
        ...


class Silent:
    """A ``Progress`` that nobody watches."""

    def update(self, stage: str, done: int, total: int, **info: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Job:
    """What to train, and how long.

    Args:
        stage: name in the log, of the checkpoint, and part of the seed.
        epochs: passes over the training data.
        objective: the loss.
        batch: samples in a step, over all devices.
        lr: highest learning rate; falls by half a cosine.
        optimizer: ``adamw`` (Loshchilov and Hutter, 2019), or ``sgd`` with Nesterov's momentum 0.9.
        weight_decay: of weights; biases and batch norm have none.
        seed: of the order of the data and of the augmentation.
        shift: images are moved by up to this many pixels in both directions.
        flip: half of the images are mirrored, left to right.
        cutout: side of a square that is hidden in every image (DeVries and Taylor, 2017,
            arXiv:1708.04552); 0 for none.
        scale: logits of an output that spikes in every step.
        gradient: through all time steps, or through mean rates (``rates.py``).
        structure: what may change the network's connections.
        tensorboard: write TensorBoard events beside the log.
        show: how images are encoded for the student; the teacher sees them as they are.
        facts: whatever else decides the result (JSON); a checkpoint made with other facts is
            refused.
    """

    stage: str
    epochs: int
    objective: Objective = field(default_factory=Objective)
    batch: int = 64
    lr: float = 3e-3
    optimizer: str = "adamw"
    weight_decay: float = 1e-2
    seed: int = 0
    shift: int = 0
    flip: bool = False
    cutout: int = 0
    scale: float = 1.0
    gradient: Literal["time", "rate"] = "time"
    structure: Structure = field(default_factory=Structure)
    tensorboard: bool = False
    show: Show | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def still(self) -> bool:
        """The training samples are the same in every epoch."""
        return not self.shift and not self.flip and not self.cutout


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
        InputError: the checkpoint belongs to another job, or teacher and student do not fit.
    """
    try:
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
        self.run = rate_outputs if job.gradient == "rate" else outputs_of

    def forward(
        self, x: Tensor, targets: Tensor, taught: Outputs | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the parts of the loss, and which samples were right ``[B]``."""
        found = self.run(self.network, x, self.scale)
        parts = self.objective(found, taught, targets)
        return parts, found.logits.detach().argmax(-1) == targets


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
        self.identity = self._identity()
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
        if saved is not None:
            with self._reading():
                _restore(network, saved, "model.")
                _restore(self.job.objective, saved, "objective.")
                structure.restore(_part(saved, "structure."))
        self.lesson, self.optimizer = self.fabric.setup(lesson, optimizer)
        if saved is not None:
            with self._reading():
                restore_optimizer(self.optimizer.optimizer, _part(saved, "optimizer."))
        self._write_log()

    def _reading(self) -> AbstractContextManager[None]:
        assert self.checkpoint is not None
        return reading(self.checkpoint, "a checkpoint of this run", START_AGAIN)

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
        tensors, facts = read_tensors(self.checkpoint)
        require(facts, _FACTS, self.checkpoint, START_AGAIN)
        if facts["job"] != self.identity:
            raise InputError(
                f"{self.checkpoint} was made with other options or other data.",
                "Repeat the command with the options it had, or give the run another name.",
            )
        self.history = facts["history"]
        return tensors

    def _identity(self) -> dict[str, Any]:
        job = self.job
        names = (
            "stage", "epochs", "batch", "lr", "optimizer", "weight_decay", "seed", "shift", "flip",
            "cutout", "scale", "gradient",
        )  # fmt: skip
        digest = hashlib.sha256(self.dataset.x_train.tobytes() + self.dataset.y_train.tobytes())
        shapes = {k: list(v.shape) for k, v in self.plain.state_dict().items()}
        return {n: getattr(job, n) for n in names} | {
            "data": digest.hexdigest()[:16],
            "network": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16],
            "facts": json.loads(json_text(dict(job.facts))),
        }

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
            done = len(batch) * (at + 1)
            loss = self.fabric.world_size * sums["loss"] / done
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
            raise InputError(
                f"Training diverged in stage {self.job.stage!r}, epoch {epoch}: "
                f"loss {row['loss']}.",
                f"Use a lower learning rate than {self.job.lr}.",
            )
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
        tensors = {f"{what}.{k}": v for what, part in held.items() for k, v in part.items()}
        write_tensors(self.checkpoint, tensors, {"job": self.identity, "history": self.history})
        ended = time.monotonic()
        self.next_save = ended + SAVE_EVERY * (ended - started)

    def _write_log(self) -> None:
        # The checkpoint is the truth: after a kill between the two files, this repairs the log.
        if self.run_dir is None or not self.leads:
            return
        path = self.run_dir / "log.jsonl"
        others = [r for r in read_log(path) if r.get("stage") != self.job.stage]
        lines = "".join(json_text(r, indent=None) + "\n" for r in others + self.history)
        with new_file(path) as temporary:
            temporary.write_text(lines, encoding="utf-8")
        if self.job.tensorboard:
            write_events(self.run_dir / "tensorboard", self.job.stage, self.history)


def state_path(run_dir: Path, stage: str) -> Path:
    """Return where a stage that is not over keeps what resuming needs."""
    return run_dir / "checkpoint" / f"{stage}.state.safetensors"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``log.jsonl``; none if there is no such file.

    Raises:
        InputError: a line is no record.
    """
    if not path.exists():
        return []
    hint = "Remove it, and give the command that made the run again."
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path, "a log").splitlines(), 1):
        where = f"{path}, line {number}"
        rows.append(json_value(line, where, hint))
        require(rows[-1], _ROW, where, hint)
    return rows


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _restore(network: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    network.load_state_dict(_part(tensors, prefix))


def _seed(seed: int, stage: str, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def augmented(x: Tensor, shift: int, flip: bool, cutout: int, generator: torch.Generator) -> Tensor:
    """Move samples ``[B, ..., H, W]`` by up to ``shift`` pixels, mirror half, hide a square.

    Args:
        x: integers, on any device.
        shift: pixels in both directions; what comes in is zero.
        flip: mirror half of them, left to right.
        cutout: side of the square, whose middle may lie anywhere; 0 for none.
        generator: on the processor, so that every device draws the same.
    """
    x = shifted(x, shift, generator)
    one = (-1, *(1 for _ in x.shape[1:]))
    if flip:
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        x = torch.where(mirrored.reshape(one), x.flip(-1), x)
    if cutout:
        rows, columns = (
            _hidden(side, cutout, len(x), generator).to(x.device) for side in x.shape[-2:]
        )
        square = rows[:, :, None] & columns[:, None, :]
        x = x.masked_fill(square.reshape(len(x), *one[1:-2], *x.shape[-2:]), 0)
    return x


def _hidden(side: int, cutout: int, count: int, generator: torch.Generator) -> Tensor:
    """Return which of ``side`` pixels lie in a random stretch of ``cutout``: ``[count, side]``."""
    first = torch.randint(0, side, (count, 1), generator=generator) - cutout // 2
    return (torch.arange(side) >= first) & (torch.arange(side) < first + cutout)


def shifted(x: Tensor, by: int, generator: torch.Generator) -> Tensor:
    """Move each sample ``[B, ..., H, W]`` by up to ``by`` pixels, filling with zeros."""
    if by == 0:
        return x
    height, width = x.shape[-2:]
    padded = nn.functional.pad(x, (by, by, by, by))
    moves = torch.randint(0, 2 * by + 1, (len(x), 2), generator=generator).to(x.device)
    rows = moves[:, :1] + torch.arange(height, device=x.device)
    columns = moves[:, 1:] + torch.arange(width, device=x.device)
    sample = torch.arange(len(x), device=x.device)
    moved = padded.movedim((-2, -1), (1, 2))[
        sample[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return moved.movedim((1, 2), (-2, -1)).contiguous()
