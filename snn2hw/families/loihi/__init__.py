"""Intel's Loihi 2: integers, cores, chip time, netx files and Lava."""

from snn2hw.families.family import Family, Vendor, VendorFile
from snn2hw.families.loihi import definition, engine, lava, netx
from snn2hw.families.loihi.exact import remove_dead
from snn2hw.families.loihi.place import crowded, map_network, most_inputs, stored_sparse
from snn2hw.families.loihi.quantize import quantize, refusals, rounded
from snn2hw.families.loihi.schedule import lower

LOIHI = Family(
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
    vendors={"lava": Vendor(lava.ENVIRONMENT, lava.run)},
)
