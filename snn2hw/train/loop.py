# pyright: basic
"""The one training loop: for teachers, for distillation and for fine-tuning.

A run is a function of its seed. The order of the data comes from (seed, stage, epoch), the
learning rate from the step, and after each epoch everything else is in one file: whoever goes
on from there, after Ctrl-C or a power cut, ends with the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from snn2hw.datasets import Dataset
from snn2hw.errors import InputError, Interrupted
from snn2hw.files import new_file
from snn2hw.train.methods import synop_share, watch_spikes
from snn2hw.train.state import (
    flatten_optimizer,
    read_tensors,
    restore_optimizer,
    write_tensors,
)
from snn2hw.train.students import Student, predictions

EVALUATION_BATCH = 500


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
class Devices:
    """Where to train, in Lightning Fabric's words.

    Under ``torchrun`` set ``devices`` and ``nodes``; each process takes its part of a batch.
    """

    accelerator: str = "auto"
    devices: int | str = 1
    nodes: int = 1
    precision: str = "32-true"


Criterion = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Job:
    """What to train, and how long.

    Args:
        stage: name in the log, of the checkpoint, and part of the seed.
        criterion: ``(logits, targets, teacher's logits or None) -> loss``.
        epochs: passes over the training data.
        batch: samples in a step, over all devices.
        lr: highest learning rate (AdamW, Loshchilov and Hutter, 2019); falls by half a cosine.
        weight_decay: of weights; biases and batch norm have none.
        seed: of the order of the data and of the shifts.
        shift: images are moved by up to this many pixels in both directions.
        spike_cost: weight of the spike regularizer in the loss.
        before_epoch: called with the epoch's number, before it.
        after_step: called after each step.
        facts: whatever else decides the result (JSON); a checkpoint made with other facts is
            refused.
    """

    stage: str
    criterion: Criterion
    epochs: int
    batch: int = 64
    lr: float = 3e-3
    weight_decay: float = 1e-2
    seed: int = 0
    shift: int = 0
    spike_cost: float = 0.0
    before_epoch: Callable[[int], None] = field(default=lambda _epoch: None)
    after_step: Callable[[], None] = field(default=lambda: None)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Evaluation(NamedTuple):
    """What a network does on labelled samples.

    ``spikes`` holds, for each population, the mean spikes per sample of each neuron
    ``[size]``; empty for networks without spikes. ``predictions`` is ``[N]``.
    """

    accuracy: float
    spikes: dict[str, NDArray[np.float64]]
    predictions: NDArray[np.int64]

    @property
    def spikes_per_sample(self) -> float:
        """All spikes of all populations in one sample."""
        return float(sum(s.sum() for s in self.spikes.values()))


def evaluate(
    network: nn.Module, x: NDArray[Any], y: NDArray[np.int64], batch: int = EVALUATION_BATCH
) -> Evaluation:
    """Run a network on ``x [N, ...]`` and compare with ``y [N]``; spikes counted by hooks."""
    device = _device(network)
    populations = network.populations() if isinstance(network, Student) else {}
    totals: dict[str, Tensor] = {}
    found: list[Tensor] = []
    was_training = network.training
    network.eval()
    with torch.inference_mode(), watch_spikes(populations) as seen:
        for start in range(0, len(x), batch):
            found.append(predictions(network(_tensor(x[start : start + batch], device))).cpu())
            for name, spikes in seen.items():
                counts = spikes.sum((0, 1)).flatten().cpu().double()
                totals[name] = totals.get(name, 0.0) + counts
    network.train(was_training)
    classes = torch.cat(found).numpy()
    means = {k: v.numpy() / len(x) for k, v in totals.items()}
    return Evaluation(float((classes == y).mean()), means, classes)


def logits_of(network: nn.Module, x: NDArray[Any], batch: int = EVALUATION_BATCH) -> Tensor:
    """Return a network's outputs ``[N, classes]`` in evaluation mode."""
    device = _device(network)
    network.eval()
    parts = []
    # Not inference_mode: these tensors take part in a loss.
    with torch.no_grad():
        for start in range(0, len(x), batch):
            parts.append(network(_tensor(x[start : start + batch], device)).float())
    return torch.cat(parts)


def _device(network: nn.Module) -> torch.device:
    # A teacher may have no parameters of its own, only what scales its pixels.
    held = itertools.chain(network.parameters(), network.buffers())
    return next((t.device for t in held), torch.device("cpu"))


def _tensor(x: NDArray[Any], device: torch.device | str) -> Tensor:
    # torch has no arithmetic on uint16, and warns about read-only arrays.
    dtype = np.int32 if x.dtype == np.uint16 else x.dtype
    return torch.from_numpy(x.astype(dtype, copy=not x.flags.writeable)).to(device)


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
        teacher: its logits go to the criterion.
        progress: told after every step.
        devices: where to train.

    Returns:
        One record for each epoch, as in ``log.jsonl``.

    Raises:
        Interrupted: Ctrl-C; the same call goes on after the last whole epoch.
        InputError: the checkpoint belongs to another job.
    """
    try:
        return _Run(job, network, dataset, run_dir, teacher, progress, devices).all()
    except KeyboardInterrupt:
        kept = f" The epochs so far are in {run_dir / 'checkpoint'}." if run_dir else ""
        raise Interrupted(
            f"Stopped in stage {job.stage!r}.{kept}",
            "The same command goes on from there." if run_dir else "",
        ) from None


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
        self.job, self.dataset, self.run_dir = job, dataset, run_dir
        self.plain, self.teacher = network, teacher
        self.progress = progress or Silent()
        self.history: list[dict[str, Any]] = []
        wanted = devices or Devices()
        self.fabric = Fabric(
            accelerator=wanted.accelerator,
            devices=wanted.devices,
            num_nodes=wanted.nodes,
            precision=wanted.precision,  # type: ignore[arg-type]
        )
        self.fabric.launch()
        self.checkpoint = state_path(run_dir, job.stage) if run_dir else None
        self.steps = -(-len(dataset.x_train) // job.batch)
        self.identity = self._identity()
        self._resume()

    def _resume(self) -> None:
        optimizer = torch.optim.AdamW(_groups(self.plain, self.job.weight_decay), lr=self.job.lr)
        saved = self._read_checkpoint()
        if saved is not None:
            _restore(self.plain, saved, "model.")
        self.network, self.optimizer = self.fabric.setup(self.plain, optimizer)
        if saved is not None:
            state = {k.removeprefix("optimizer."): v for k, v in saved.items() if k[0] == "o"}
            restore_optimizer(self.optimizer.optimizer, state)
        self._write_log()

    def _read_checkpoint(self) -> dict[str, Tensor] | None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return None
        tensors, facts = read_tensors(self.checkpoint)
        if not isinstance(facts, dict) or facts.get("job") != self.identity:
            raise InputError(
                f"{self.checkpoint} was made with other options or other data.",
                "Repeat the command with the options it had, or give the run another name.",
            )
        self.history = facts["history"]
        return tensors

    def _identity(self) -> dict[str, Any]:
        job = self.job
        names = (
            "stage",
            "epochs",
            "batch",
            "lr",
            "weight_decay",
            "seed",
            "shift",
            "spike_cost",
        )
        digest = hashlib.sha256(self.dataset.x_train.tobytes() + self.dataset.y_train.tobytes())
        shapes = {k: list(v.shape) for k, v in self.plain.state_dict().items()}
        return {n: getattr(job, n) for n in names} | {
            "data": digest.hexdigest()[:16],
            "network": hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16],
            "facts": json.loads(json.dumps(dict(job.facts))),
        }

    def all(self) -> list[dict[str, Any]]:
        """Run the epochs that are left."""
        targets = torch.from_numpy(self.dataset.y_train).to(self.fabric.device)
        taught = None
        if self.teacher is not None:
            self.teacher.to(self.fabric.device)
            # Images that never change get their logits once.
            taught = None if self.job.shift else logits_of(self.teacher, self.dataset.x_train)
        images = _tensor(self.dataset.x_train, self.fabric.device)
        for epoch in range(len(self.history), self.job.epochs):
            started = time.monotonic()
            self.job.before_epoch(epoch)
            loss, accuracy = self._epoch(epoch, images, targets, taught)
            self._finish(epoch, loss, accuracy, started)
        return self.history

    def _epoch(
        self, epoch: int, images: Tensor, targets: Tensor, taught: Tensor | None
    ) -> tuple[float, float]:
        job, steps = self.job, self.steps
        generator = torch.Generator().manual_seed(_seed(job.seed, job.stage, epoch))
        order = torch.randperm(len(images), generator=generator)
        total_loss, right, seen = 0.0, 0, 0
        self.network.train()
        for step in range(steps):
            chosen = order[step * job.batch : (step + 1) * job.batch]
            chosen = chosen[self.fabric.global_rank :: self.fabric.world_size]
            if len(chosen) < 2:  # batch norm has no variance of one sample
                continue
            x = shifted(images[chosen], job.shift, generator)
            self._set_rate(epoch * steps + step, job.epochs * steps)
            logits, loss = self._step(x, targets[chosen], self._taught(x, taught, chosen))
            total_loss += loss * len(chosen)
            right += int((logits.argmax(-1) == targets[chosen]).sum())
            seen += len(chosen)
            done = epoch * steps + step + 1
            self.progress.update(job.stage, done, job.epochs * steps, loss=total_loss / seen)
        return total_loss / max(seen, 1), right / max(seen, 1)

    def _taught(self, x: Tensor, taught: Tensor | None, chosen: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        if taught is not None:
            return taught[chosen.to(taught.device)]
        with torch.no_grad():
            self.teacher.eval()
            return self.teacher(x)

    def _step(self, x: Tensor, targets: Tensor, taught: Tensor | None) -> tuple[Tensor, float]:
        student = self.plain if isinstance(self.plain, Student) else None
        costs = student is not None and self.job.spike_cost > 0
        watching = watch_spikes(student.populations()) if student and costs else nullcontext({})
        with watching as spikes:
            logits = self.network(x)
            loss = self.job.criterion(logits, targets, taught)
            if student is not None and costs:
                loss = loss + self.job.spike_cost * synop_share(spikes, student.fan_out())
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        self.job.after_step()
        return logits.detach(), float(loss.detach())

    def _set_rate(self, step: int, steps: int) -> None:
        # A function of the step alone, so there is no schedule to save.
        warm = min(1.0, (step + 1) / max(1.0, 0.02 * steps))
        rate = self.job.lr * warm * 0.5 * (1.0 + math.cos(math.pi * step / steps))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _finish(self, epoch: int, loss: float, accuracy: float, started: float) -> None:
        if not math.isfinite(loss):
            raise InputError(
                f"Training diverged in stage {self.job.stage!r}, epoch {epoch}: loss {loss}.",
                f"Use a lower learning rate than {self.job.lr}.",
            )
        self.fabric.barrier()
        test = evaluate(self.plain, self.dataset.x_test, self.dataset.y_test)
        self.history.append(
            {
                "stage": self.job.stage,
                "epoch": epoch,
                "loss": loss,
                "train_accuracy": accuracy,
                "test_accuracy": test.accuracy,
                "spikes_per_sample": test.spikes_per_sample,
                "seconds": round(time.monotonic() - started, 3),
            }
        )
        if self.checkpoint is not None and self.fabric.is_global_zero:
            tensors = {f"model.{k}": v for k, v in self.plain.state_dict().items()}
            optimizer = flatten_optimizer(self.optimizer.optimizer)
            tensors |= {f"optimizer.{k}": v for k, v in optimizer.items()}
            facts = {"job": self.identity, "history": self.history}
            write_tensors(self.checkpoint, tensors, facts)
        self._write_log()
        done, total = (epoch + 1) * self.steps, self.job.epochs * self.steps
        self.progress.update(
            self.job.stage, done, total, epoch=epoch, loss=loss, accuracy=test.accuracy
        )

    def _write_log(self) -> None:
        # The checkpoint is the truth: after a kill between the two files, this repairs the log.
        if self.run_dir is None or not self.fabric.is_global_zero:
            return
        path = self.run_dir / "log.jsonl"
        others = [r for r in read_log(path) if r.get("stage") != self.job.stage]
        lines = "".join(json.dumps(r) + "\n" for r in others + self.history)
        with new_file(path) as temporary:
            temporary.write_text(lines, encoding="utf-8")


def state_path(run_dir: Path, stage: str) -> Path:
    """Return where a stage that is not over keeps what resuming needs."""
    return run_dir / "checkpoint" / f"{stage}.state.safetensors"


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a ``log.jsonl``; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _restore(network: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    mine = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    network.load_state_dict(mine)


def _seed(seed: int, stage: str, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed}/{stage}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def shifted(x: Tensor, by: int, generator: torch.Generator) -> Tensor:
    """Move each sample ``[B, ..., H, W]`` by up to ``by`` pixels, filling with zeros."""
    if by == 0:
        return x
    height, width = x.shape[-2:]
    padded = nn.functional.pad(x, (by, by, by, by))
    moves = torch.randint(0, 2 * by + 1, (len(x), 2), generator=generator)
    rows = moves[:, :1] + torch.arange(height)
    columns = moves[:, 1:] + torch.arange(width)
    sample = torch.arange(len(x))
    moved = padded.movedim((-2, -1), (1, 2))[
        sample[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return moved.movedim((1, 2), (-2, -1)).contiguous()
