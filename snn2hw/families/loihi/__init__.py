"""Intel's Loihi: integers, cores, chip time, netx files, Lava and an emulator of Loihi 1."""

from snn2hw.families.family import Family, Schema, Vendor, VendorFile
from snn2hw.families.loihi import definition, engine, lava, nengo_loihi, netx, words
from snn2hw.families.loihi.exact import remove_dead
from snn2hw.families.loihi.numbers import LATER, RANGES, Numbers
from snn2hw.families.loihi.place import (
    SHARED,
    crowded,
    map_network,
    most_inputs,
    stored_sparse,
)
from snn2hw.families.loihi.populations import KINDS
from snn2hw.families.loihi.quantize import quantize, refusals, rounded
from snn2hw.families.loihi.schedule import lower

SCHEMA = Schema(
    numbers=Numbers,
    ranges=RANGES,
    limits={
        "cores_per_chip": "cores",
        "chips": "chips",
        "neurons_per_core": "neurons",
        "sparse_density": "fraction",
    },
    abilities=("graded_input", "graded_output", "reset_zero", "reset_subtract"),
    prices={"synop": "pJ", "update": "pJ", "static": "W"},
    timing={"synop": "ns", "update": "ns", "step": "us", "io_value": "us"},
    layouts=(SHARED, words.LAYOUT),
    later=LATER,
)
LOIHI = Family(
    schema=SCHEMA,
    populations=KINDS,
    refusals=refusals,
    quantize=quantize,
    rounded=rounded,
    exact=remove_dead,
    crowded=crowded,
    place=map_network,
    schedule=lower,
    define=definition.run,
    run=engine.run,
    stored_sparse=stored_sparse,
    most_inputs=most_inputs,
    file=VendorFile("model.net", netx.why_not, netx.write, netx.read, netx.notes),
    vendors={
        "lava": Vendor(lava.ENVIRONMENT, lava.run, lava.why_not),
        "nengo-loihi": Vendor(nengo_loihi.ENVIRONMENT, nengo_loihi.run, nengo_loihi.why_not),
    },
)
