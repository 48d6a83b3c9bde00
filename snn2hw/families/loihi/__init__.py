"""Intel's Loihi 2: integers, cores, chip time, netx files and Lava."""

from snn2hw.families.family import Family, Schema, Vendor, VendorFile
from snn2hw.families.loihi import cost, definition, engine, lava, netx
from snn2hw.families.loihi.exact import remove_dead
from snn2hw.families.loihi.numbers import RANGES, Numbers, trains
from snn2hw.families.loihi.place import map_network, most_inputs
from snn2hw.families.loihi.populations import KINDS
from snn2hw.families.loihi.quantize import quantize
from snn2hw.families.loihi.schedule import schedule

SCHEMA = Schema(
    numbers=Numbers,
    ranges=RANGES,
    limits={
        "cores_per_chip": "cores",
        "chips": "chips",
        "neurons_per_core": "neurons",
        "memory_per_core": "bytes",
        "neuron_bytes": "bytes",
        "axon_bytes": "bytes",
        "synapse_bytes_dense": "bytes",
        "synapse_bytes_sparse": "bytes",
        "sparse_density": "fraction",
    },
    abilities=("graded_input", "graded_output", "reset_zero", "reset_subtract"),
    prices={"synop": "pJ", "update": "pJ", "static": "W"},
    timing={"synop": "ns", "update": "ns", "step": "us", "io_value": "us"},
)
LOIHI = Family(
    schema=SCHEMA,
    populations=KINDS,
    trains=trains,
    quantize=quantize,
    exact=remove_dead,
    place=map_network,
    schedule=schedule,
    define=definition.run,
    run=engine.run,
    count=cost.count,
    time=cost.time,
    most_inputs=most_inputs,
    file=VendorFile("model.net", netx.plan, netx.read, netx.notes),
    vendors={"lava": Vendor(lava.ENVIRONMENT, lava.run)},
)
