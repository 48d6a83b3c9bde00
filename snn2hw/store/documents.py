"""What the JSON files of runs and builds must hold, wherever they come from."""

from __future__ import annotations

from snn2hw.fields import anything, flag, many, maybe, named, real, table, text, whole

_SHARE, _COUNT = real(0, 1), whole(0)
METRICS = table(
    {
        "accuracy": _SHARE,
        "teacher_accuracy": maybe(_SHARE),
        "spikes_per_sample": real(0),
        "synops_per_sample": real(0),
        "parameters": _COUNT,
        "connections": _COUNT,
        "time_steps": whole(1),
        "method": text(),
        "data": text(),
        "seed": whole(),
        "seconds": real(0),
    },
    {
        "teacher": text(), "student": text(), "data_note": text(), "sparsity": _SHARE,
        "target": text(), "samples": whole(1),  # of the test
        "trained_before": many(text()), "teacher_note": text(), "parent_sha256": text(),
    },
)  # fmt: skip
COMMAND = table({"command": text()}, {"recipe": named(anything), "parent": text()})
_LAYER = table(
    {
        "name": text(),
        "shape": many(_COUNT),
        "phase": _COUNT,
        "cores": _COUNT,
        "inputs": many(
            table(
                {"from": text(), "kind": text(), "exponent": whole(), "delay": whole(),
                 "nonzero": _COUNT},
            )
        ),
    },
    {"quantization": table({"relative_error": real(0), "limited_by": text(), "removed": _COUNT})},
)  # fmt: skip
_REWRITES = table(
    {"applied": named(text()), "measured_on": text(), "same_predictions": _SHARE,
     "spikes_per_sample": many(real(0), 2),
     "on_chip": table(
         {"same_predictions": _SHARE, "spikes_per_sample": real(0)}, {"accuracy": _SHARE}
     )},
    {"accuracy": many(_SHARE, 2)},
)  # fmt: skip
_OPTIONS = table(
    {},
    {
        "dt": maybe(real(0)), "time_steps": maybe(whole(1)), "reset": maybe(text()),
        "written_by": maybe(text()), "integration": maybe(text()), "fires": maybe(text()),
        "spikes": maybe(text()), "v_min": maybe(real()), "input_max": maybe(whole(1)),
        "input_scale": maybe(real(0)), "input_mean": maybe(many(real())),
        "input_std": maybe(many(real())), "rewrite": many(text()), "name": text(),
        "chips": maybe(whole(1)),
        "shape": many(whole(1)), "max_pool": text(), "time": text(),  # of a module
    },
)  # fmt: skip
BUILD = table(
    {
        "name": text(),
        "target": text(),
        "digest": text(),
        "model": text(),
        "inputs": named(table({"sha256": text()})),
        "options": _OPTIONS,
        "outputs": table({"program.h5": text(), "placement.json": text(), "target.toml": text()}),
        "versions": table({"snn2hw": text()}),
        "time_steps": whole(1),
        "depth": _COUNT,
        "cores": _COUNT,
        "chips": _COUNT,
        "vendor_file": maybe(
            table(
                {"name": text(), "written": flag, "reason": maybe(text())},
                {"arguments": named(whole()), "use": text()},
            )
        ),
        "layers": many(_LAYER),
        "rewrites": maybe(_REWRITES),
        "data": maybe(text()),
        "encoder": maybe(named(anything)),
        "run": table(
            {}, {"accuracy": _SHARE, "teacher_accuracy": maybe(_SHARE), "teacher_note": text()}
        ),
        "notes": many(text()),
    },
    {
        "answers": named(text()),  # where there are several outputs, the population of each
        "trained_before": many(text()),  # data sets, before the last
    },
)
_COMPARED = {"compared": _COUNT, "mismatches": _COUNT}
PROOF = table(
    {
        "against": text(), "samples": _COUNT, **_COMPARED,
        "paths": many(table({"through": text(), "values": many(text()), **_COMPARED})),
    },
    {
        "parts": many(
            table({"populations": named(table({"neurons": _COUNT, "of": _COUNT})),
                   "window": maybe(text()), "sources": named(_COUNT), **_COMPARED})
        ),
        "left_out": many(table({"part": text(), "bytes": _COUNT})),
        "program": text(), "steps": _COUNT, "sample_steps": _COUNT, "data": text(),
        "data_sha256": text(), "silent": flag,
    },
)  # fmt: skip
_RANGE = table({"typical": real(0), "low": real(0), "high": real(0)})
BESIDE = many(
    table(
        {"who": text(), "runs_on": text(), "accuracy": maybe(_SHARE), "latency_us": maybe(real(0)),
         "energy_uj": maybe(_RANGE), "how": text()},
        {"samples": maybe(whole(1))},
    )
)  # fmt: skip
REPORT = table(
    {
        "target": text(), "samples": whole(1), "data": maybe(text()), "accuracy": maybe(_SHARE),
        "latency_us": real(0), "spikes": real(0), "synops": real(0),
        "chip": table({"total_uj": _RANGE}),
    },
    {"program": text(), "output": text(), "trained_on": flag, "data_sha256": text()},
)  # fmt: skip
_MESH = table(
    {
        "cores_per_tile": whole(1),
        "tiles_per_row": whole(1),
        "messages": _COUNT,
        "hops": _COUNT,
    },
    closed=True,
)
PLACEMENT = table(
    {
        "cores_per_chip": whole(1),
        "limits": named(whole(1)),  # what a core has is its family's
        "stored": many(text()),
        "slices": many(
            table(
                {"layer": text(), "start": _COUNT, "stop": _COUNT, "core": _COUNT,
                 "uses": named(_COUNT)},
                {"repeats": whole(1), "stride": _COUNT},
            )
        ),
    },
    {"mesh": _MESH},
)  # fmt: skip
