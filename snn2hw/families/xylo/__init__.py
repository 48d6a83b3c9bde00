"""SynSense's Xylo: integers, one core, chip time, Rockpool's specification and xylosim."""

from typing import Any

from snn2hw.families.family import Family, Inputs, Schema, Vendor, VendorFile
from snn2hw.families.xylo import cost, definition, spec, xylosim
from snn2hw.families.xylo.numbers import RANGES, Numbers, contradictions, trains
from snn2hw.families.xylo.place import map_network, most_inputs
from snn2hw.families.xylo.populations import KINDS
from snn2hw.families.xylo.quantize import quantize
from snn2hw.families.xylo.schedule import schedule
from snn2hw.ir.program import Program
from snn2hw.ir.trace import Trace

SCHEMA = Schema(
    numbers=Numbers,
    ranges=RANGES,
    limits={
        "inputs": "channels",
        "hidden_neurons": "neurons",
        "readout_neurons": "neurons",
        "input_expansion": "neurons",
        "readout_expansion": "neurons",
        "fan_out": "neurons",
        "synapses": "synapses",
    },
    abilities=(
        "graded_input", "graded_output", "reset_zero", "reset_subtract", "fires_above", "fires_at",
        "spikes_one", "spikes_many",
    ),
    never=("graded_output", "reset_zero", "fires_above", "spikes_one"),
    contradictions=contradictions,
    prices={"cycle": "pJ", "static": "W"},
    timing={
        "input_channel": "cycles",
        "input_target": "cycles",
        "hidden_source": "cycles",
        "hidden_target": "cycles",
        "readout_source": "cycles",
        "readout_target": "cycles",
        "hidden_neuron": "cycles",
        "hidden_spike": "cycles",
        "hidden_event": "cycles",
        "alias_target": "cycles",
        "alias_source": "cycles",
        "readout_neuron": "cycles",
        "margin": "times",
        "clock": "MHz",
    },
)  # fmt: skip


def _run(program: Program, inputs: Inputs, **options: Any) -> Trace:
    """Run the engine, whose compiler takes long to import: most commands need none."""
    from snn2hw.families.xylo import engine

    return engine.run(program, inputs, **options)


XYLO = Family(
    schema=SCHEMA,
    populations=KINDS,
    trains=trains,
    quantize=quantize,
    place=map_network,
    schedule=schedule,
    define=definition.run,
    run=_run,
    count=cost.count,
    time=cost.time,
    synop_price=cost.synop_price,
    most_inputs=most_inputs,
    file=VendorFile("spec.json", spec.plan),
    vendors={"xylosim": Vendor(xylosim.ENVIRONMENT, xylosim.run)},
)
