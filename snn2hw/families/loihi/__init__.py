"""Intel's Loihi: integers, cores, chip time, netx files, Lava and an emulator of Loihi 1."""

from typing import Any

from snn2hw.families.family import Family, Inputs, Schema, Variant, Vendor, VendorFile
from snn2hw.families.loihi import (
    cost,
    definition,
    lava,
    memory,
    mesh,
    nengo_loihi,
    netx,
    words,
)
from snn2hw.families.loihi.exact import remove_dead
from snn2hw.families.loihi.numbers import LATER, RANGES, Numbers, contradictions, trains
from snn2hw.families.loihi.place import map_network, most_inputs
from snn2hw.families.loihi.populations import KINDS
from snn2hw.families.loihi.quantize import quantize
from snn2hw.families.loihi.schedule import schedule
from snn2hw.ir.program import Program
from snn2hw.ir.trace import Trace

SCHEMA = Schema(
    numbers=Numbers,
    ranges=RANGES,
    limits={
        "cores_per_chip": "cores",
        "chips": "chips",
        "neurons_per_core": "neurons",
        "neuron_groups_per_core": "groups",
        **mesh.LAYOUT,
        "sparse_density": "fraction",
    },
    abilities=(
        "graded_input",
        "graded_output",
        "reset_zero",
        "reset_subtract",
        "fires_above",
        "fires_at",
        "spikes_one",
        "spikes_many",
    ),
    never=("reset_subtract", "fires_at", "spikes_many"),
    contradictions=contradictions,
    prices={"static": "W"},
    timing={"io_value": "us"},
    variants=(
        Variant(memory.LAYOUT, dict.fromkeys(cost.COARSE, "pJ"), cost.COARSE_TIMING),
        Variant(words.LAYOUT, dict.fromkeys(cost.FINE, "pJ"), cost.FINE_TIMING),
    ),
    later=LATER,
)


def _run(program: Program, inputs: Inputs, **options: Any) -> Trace:
    """Run the engine, whose compiler takes long to import: most commands need none."""
    from snn2hw.families.loihi import engine

    return engine.run(program, inputs, **options)


LOIHI = Family(
    schema=SCHEMA,
    populations=KINDS,
    trains=trains,
    quantize=quantize,
    exact=remove_dead,
    place=map_network,
    schedule=schedule,
    define=definition.run,
    run=_run,
    count=cost.count,
    worth=cost.worth,
    counts_states=cost.is_fine,
    time=cost.time,
    synop_price=cost.synop_price,
    most_inputs=most_inputs,
    file=VendorFile("model.net", netx.plan, netx.read, netx.notes, netx.loading),
    vendors={
        "lava": Vendor(lava.ENVIRONMENT, lava.run, lava.why_not, lava.memory),
        "nengo-loihi": Vendor(nengo_loihi.ENVIRONMENT, nengo_loihi.run, nengo_loihi.why_not),
    },
)
