"""The bill: counts by hand, prices that reproduce their calibration, time by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import LOIHI1, LOIHI2, images, placed, random_program, residual, seeds, tiny

from snn2hw import estimator
from snn2hw.families.loihi import definition as reference
from snn2hw.families.loihi import engine
from snn2hw.families.loihi.cost import FINE
from snn2hw.families.loihi.place import DENSE, SPARSE, storage
from snn2hw.families.loihi.populations import Lif
from snn2hw.ir.integer import Connection, InputPort, IntNetwork
from snn2hw.ir.synapses import Conv, Dense, Sparse, matrix
from snn2hw.pipeline import counting
from snn2hw.pipeline.compiler import compile_network
from snn2hw.simulate.loads import FEW


def bill(program, x, target=LOIHI2, **options):
    """Return the energy report of inputs, and their trace."""
    trace, counts = counting.run(program, x, **options)
    return counting.report(program, trace, counts, target), trace


def test_prices_reproduce_the_measurement_they_are_fitted_to():
    c = LOIHI2.calibration
    synops, updates = c["pilotnet_synops"].value, c["pilotnet_updates"].value
    dynamic_mj = (
        synops * LOIHI2.prices["synop"].value + updates * LOIHI2.prices["update"].value
    ) * 1e-9
    assert dynamic_mj == pytest.approx(c["pilotnet_dynamic"].value, rel=2e-3)
    ratio = LOIHI2.prices["update"].value / LOIHI2.prices["synop"].value
    assert ratio == pytest.approx((51.2 + 21.6) / 24.0, rel=2e-3)


def test_counts_by_hand():
    program = compile_network(tiny(), LOIHI2)
    x = {"input": np.zeros((1, 4, 4), int)}
    x["input"][0, 0] = [1, 0, 0, 1]  # drives lif1 neuron 0 with 1.5, neuron 2 with -0.75
    x["input"][0, 2] = [0, 1, 1, 0]  # neuron 1 with 1.375
    report, trace = bill(program, x, states=True)
    fired = trace.layers["lif1"].spikes[0]
    assert fired.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    first, second = report.layers
    # inputs 0 and 3 reach 2 and 2 neurons, inputs 1 and 2 reach 2 and 2
    assert (first.spikes, first.synops, first.counts["update"]) == (2, 2 + 2 + 2 + 2, 3 * 4)
    # neuron 0 reaches one of lif2, neuron 1 both; stored densely, each spike is charged for both
    assert second.synops == 1 + 2
    assert second.counts == {"synop": 4, "update": 2 * 4}
    uj = (4 * 24.85 + 8 * 75.4) * 1e-6
    assert second.dynamic_uj.typical == pytest.approx(uj)


def test_time_of_a_step_is_the_busiest_cores():
    program = compile_network(tiny(), apart(LOIHI2))
    x = {"input": np.ones((1, 4, 4), int)}
    report, _ = bill(program, x)
    # every step lif1's core takes 4 events of 3 stored synapses (9 of 12 are not zero: dense), and
    # goes through its 3 neurons meanwhile
    step_us = 1.8 + max(12 * 1.0, 3 * 9.7) * 1e-3
    assert report.period_us.typical == pytest.approx(4 * step_us)
    assert report.latency_us.typical == pytest.approx((4 + 2) * step_us)
    assert report.static_uj.typical == pytest.approx(0.232 * 4 * step_us)
    assert report.io_us.typical == pytest.approx(16 * 1.466)


def test_a_loop_waits_until_the_sample_has_left():
    net = compile_network(tiny(), LOIHI2).network
    back = Connection("lif1", "lif1", Dense(np.zeros((3, 3), int)), delay=1)
    net = replace(net, connections=(*net.connections, back))
    program = placed(net, apart(LOIHI2))
    report, _ = bill(program, {"input": np.ones((1, 4, 4), int)})
    # in each step, lif1's core goes through its neurons for longer than it reads synapses
    period_us = 6 * (1.8 + 3 * 9.7e-3)
    assert report.period_us.typical == pytest.approx(period_us)
    assert report.latency_us == report.period_us
    assert [layer.counts["update"] for layer in report.layers] == [3 * 6, 2 * 6]


@settings(max_examples=20)
@given(seeds, st.booleans())
def test_ranges_are_ordered_and_layers_add_up(seed, loops):
    program = random_program(seed, loops=loops)
    x = images(program.network, samples=3, seed=seed)
    report, _ = bill(program, x)
    if loops:  # the output may be done before the last layer is
        assert 0 < report.latency_us.typical <= report.period_us.typical * (1 + 1e-9)
    for part in report.boundaries().values():
        for r in part.values():
            assert 0 <= r.low <= r.typical <= r.high
        assert part["total_uj"].typical == pytest.approx(
            part["static_uj"].typical + part["dynamic_uj"].typical
        )
    assert report.dynamic_uj.typical == pytest.approx(
        sum(x.dynamic_uj.typical for x in report.layers)
    )
    for layer in report.layers:
        assert layer.synops <= layer.counts["synop"] + 1e-9


@settings(max_examples=20)
@given(seeds)
def test_synops_are_spikes_that_meet_weights(seed):
    program = random_program(seed)
    x = images(program.network, samples=2, seed=seed)
    trace = engine.run(program, x, states=True)
    sent = {k: v.reshape(*v.shape[:2], -1) for k, v in x.items()}
    sent |= {
        k: layer.spikes.reshape(*layer.spikes.shape[:2], -1) for k, layer in trace.layers.items()
    }
    counts = estimator.layer_counts(program, trace)
    for p in program.network.populations:
        met = 0
        for i in program.network.into(p.name):
            c = program.network.connections[i]
            met += ((sent[c.pre] != 0) @ (matrix(c.synapses).toarray() != 0).T.astype(int)).sum()
        assert counts[p.name].synops == pytest.approx(met / trace.samples)


def test_zeros_cost_nothing_once_they_are_left_out():
    program = compile_network(residual(), LOIHI2)
    c = program.network.connections[-1]
    assert storage(c, LOIHI2) == DENSE
    pruned = type(c)(c.pre, c.post, type(c.synapses)(c.synapses.weight * (np.arange(108) % 4 == 0)))
    assert storage(pruned, LOIHI2) == SPARSE


def read_from_memory(connection, target=LOIHI2):
    """Which source makes the chip read which synapse, zeros too unless they are left out.

    Of Loihi 2's kernels they are.
    """
    synapses = connection.synapses
    kernel = isinstance(synapses, Conv) and target is LOIHI2
    if kernel or storage(connection, target) == SPARSE:
        return matrix(synapses).toarray() != 0
    assert not isinstance(synapses, Sparse)
    every = replace(synapses, weight=np.ones_like(synapses.weight))
    if isinstance(every, Dense):
        return every.weight != 0
    assert isinstance(every, Conv)
    pixels = np.eye(np.prod(every.input_shape), dtype=int)
    seen = [
        reference.correlate(every, x.reshape(1, *every.input_shape)).reshape(-1) for x in pixels
    ]
    return np.stack(seen, axis=1) != 0


def apart(target):
    """A target whose cores hold one layer each."""
    one = replace(target.limits["neuron_groups_per_core"], value=1.0)
    return replace(target, limits={**target.limits, "neuron_groups_per_core": one})


def small_chips():
    """Loihi 2 with few neurons a core, few cores a chip, and slow synapses, so that all count."""
    limits = dict(LOIHI2.limits)
    for name, value in (("neurons_per_core", 5.0), ("cores_per_chip", 3.0), ("chips", 99.0)):
        limits[name] = replace(limits[name], value=value)
    figures = dict(LOIHI2.timing)
    for name, factor in (("synop", 99), ("update", 9)):
        f = figures[name]
        figures[name] = replace(f, value=factor * f.value, low=f.low, high=2 * factor * f.high)
    return replace(LOIHI2, limits=limits, timing=figures)


def stream(program, sent, samples):
    """What each core does at each chip step, ``[cores, steps]``, sample by sample.

    Step by step, as samples follow each other: those of a program that streams without a gap, the
    others when the chip has come to rest.

    Args:
        program: what runs.
        sent: events of inputs and layers, ``[N, T, size]``.
        samples: which of the N follow each other.
    """
    steps = next(iter(sent.values())).shape[1]
    period = steps if program.streams else steps + program.tail
    work = np.zeros((program.placement.cores, len(samples) * period + program.tail))
    for c in program.network.connections:
        reads = read_from_memory(c)
        for s in program.placement.of(c.post):
            each = reads[s.span.where].sum(axis=0)
            for at, sample in enumerate(samples):
                for t in range(steps):
                    now = at * period + t + program.phase[c.post]
                    work[s.core, now] += each @ sent[c.pre][sample, t]
    return work, period


def flat(x):
    return (x != 0).reshape(*x.shape[:2], -1).astype(int)


@settings(max_examples=40)
@given(seeds, st.booleans())
def test_time_and_static_energy_are_those_of_samples_in_a_row(seed, loops):
    """The period is taken where the pipeline is full, by each figure of the prices.

    A step lasts as the busiest core of the samples that are on the chip then: the mean over steps
    of the busiest is more than the busiest of the mean.
    """
    chips, net = small_chips(), replace(random_program(seed, loops=loops).network, time_steps=7)
    program = placed(net, chips)
    r = np.random.default_rng(seed)
    x = images(net, 3, seed)
    x = {  # so that some steps, and some samples, are busier
        k: v * (r.random((3, 7)) < r.random((3, 1))).reshape(3, 7, *[1] * (v.ndim - 2))
        for k, v in x.items()
    }
    report, trace = bill(program, x, chips, states=True)
    sent = {k: flat(v) for k, v in x.items()} | {k: flat(t.spikes) for k, t in trace.layers.items()}
    before = 1 + program.tail // 7  # rounds of the three, until the pipeline is full
    work, period = stream(program, sent, [0, 1, 2] * (before + 1))
    neurons = np.zeros(program.placement.cores, int)
    for s in program.placement.slices:
        neurons[s.core] += s.span.size
    assert report.chips == -(-len(neurons) // 3)
    for figure in ("value", "low", "high"):
        time = {k: getattr(f, figure) for k, f in chips.timing.items()}
        each = np.maximum(work * time["synop"], neurons[:, None] * time["update"])
        busiest = each.max(axis=0)
        lasts_us = (busiest / 1000 + time["step"])[3 * before * period :][: 3 * period]
        period_us = lasts_us.sum() / 3
        latency_us = lasts_us.reshape(3, period)[:, : 7 + program.depth].sum() / 3
        if program.streams:  # a step lasts as those of the period do on average
            latency_us = period_us * (7 + program.depth) / 7
        name = {"value": "typical"}.get(figure, figure)
        assert getattr(report.period_us, name) == pytest.approx(period_us)
        assert getattr(report.latency_us, name) == pytest.approx(latency_us)
        power = getattr(chips.prices["static"], figure) * report.chips
        assert getattr(report.static_uj, name) == pytest.approx(power * period_us)
        values = sum(sent[p.name].sum() for p in net.inputs) / 3
        io_us = values * time["io_value"]
        assert getattr(report.io_us, name) == pytest.approx(io_us)
        assert getattr(report.static_io_uj, name) == pytest.approx(power * (period_us + io_us))


@settings(max_examples=20)
@given(seeds, st.booleans())
def test_dynamic_energy_is_every_read_synapse_and_every_update(seed, loops):
    program = random_program(seed, loops=loops)
    report, trace = bill(program, images(program.network, samples=3, seed=seed))
    for layer, p in zip(report.layers, program.network.populations, strict=True):
        into = [program.network.connections[i] for i in program.network.into(p.name)]
        reads = sum((trace.events[c.pre] @ read_from_memory(c).T).sum() for c in into) / 3
        updates = p.size * program.period(trace.steps)
        assert layer.counts["synop"] == pytest.approx(reads)
        for name, figure in (("typical", "value"), ("low", "low"), ("high", "high")):
            price = {k: getattr(LOIHI2.prices[k], figure) for k in ("synop", "update")}
            uj = (reads * price["synop"] + updates * price["update"]) * 1e-6
            assert getattr(layer.dynamic_uj, name) == pytest.approx(uj)
            assert getattr(report.dynamic_uj, name) == pytest.approx(
                sum(getattr(x.dynamic_uj, name) for x in report.layers)
            )


def test_counts_do_not_depend_on_how_many_samples_run_at_a_time():
    program = random_program(3)
    x = images(program.network, samples=7, seed=1)
    whole, part = bill(program, x)[0], bill(program, x, memory=1)[0]
    assert whole == part


def test_events_added_up_while_they_happen_are_counted_as_those_that_are_kept():
    program = compile_network(residual(), small_chips())
    net, slices = program.network, program.placement.slices
    into = {c.post for c in net.connections if isinstance(c.synapses, Conv)}
    assert max(sum(s.layer == name for s in slices) for name in into) > FEW
    x = images(net, samples=3)
    _, added = counting.run(program, x)
    _, kept = counting.run(program, x, states=True)
    assert kept.work["synop"].sum() > 0
    assert all((added.work[k] == v).all() for k, v in kept.work.items())
    assert all((added.host[k] == v).all() for k, v in kept.host.items())


def test_every_event_has_a_price_and_every_price_an_event():
    program = compile_network(tiny(), LOIHI2)
    trace, counts = counting.run(program, {"input": np.ones((1, 4, 4), int)})
    less = replace(LOIHI2, prices={k: v for k, v in LOIHI2.prices.items() if k != "update"})
    more = replace(LOIHI2, prices=LOIHI2.prices | {"hop": LOIHI2.prices["synop"]})
    for target, name in ((less, "update"), (more, "hop")):
        with pytest.raises(ValueError, match=name):
            counting.report(program, trace, counts, target)


def updates(program, layer, name, sample, neuron):
    """In how many steps a neuron has a bias, a current, or a membrane from the step before."""
    u, v = (layer[k].reshape(*layer[k].shape[:2], -1)[sample, :, neuron].tolist() for k in "uv")
    bias = int(program.network.population(name).bias[neuron])
    return sum(any((bias, now, before)) for now, before in zip(u, [0, *v], strict=False))


def by_hand(program, x, sent):
    """Events of Loihi 1, spike by spike and neuron by neuron: totals by event and slice."""
    placement, net, limit = program.placement, program.network, program.target.limit
    found = {(e, i): 0 for e in FINE for i in range(len(placement.slices))}
    states = reference.run(program, x).layers

    def tile(core):
        chip, inside = divmod(core, placement.cores_per_chip)
        row, column = divmod(inside // limit("cores_per_tile"), limit("tiles_per_row"))
        return column + chip * limit("tiles_per_row"), row

    for i, s in enumerate(placement.slices):
        mine = np.arange(sent[s.layer].shape[-1])[s.span.where]
        found["spike", i] += sent[s.layer][..., mine].sum()
        for neuron in mine:
            for sample in range(2):
                found["soma_update", i] += updates(
                    program, states[s.layer], s.layer, sample, neuron
                )
    for c in net.connections:
        reads = read_from_memory(c, program.target)
        kind = "conv" if isinstance(c.synapses, Conv) else storage(c, program.target)
        for _, _, neuron in np.argwhere(sent[c.pre]):
            before = [(j, s) for j, s in enumerate(placement.slices) if s.layer == c.pre]
            here = [j for j, s in before if neuron in np.r_[: s.span.end][s.span.where]]
            for i, s in enumerate(placement.slices):
                met = reads[s.span.where, neuron].sum() if s.layer == c.post else 0
                if not met:
                    continue
                found[f"synop_{kind}", i] += met
                found["axon_in", i] += 1
                for j in here:
                    (x, y), (at, below) = tile(placement.slices[j].core), tile(s.core)
                    found["axon_out", j] += 1
                    found["hop_x", j] += abs(at - x)
                    found["hop_y", j] += abs(below - y)
    return found


@settings(max_examples=25)
@given(seeds, st.booleans())
def test_finer_events_are_those_of_every_spike(seed, loops):
    limits = dict(LOIHI1.limits)
    for name, value in (
        ("neurons_per_core", 5), ("cores_per_chip", 6), ("chips", 99), ("cores_per_tile", 2),
        ("tiles_per_row", 2),
    ):  # fmt: skip
        limits[name] = replace(limits[name], value=float(value))
    chips = replace(LOIHI1, limits=limits)
    net = random_program(seed, loops=loops, target=LOIHI1).network
    r = np.random.default_rng(seed)
    some = tuple(replace(p, bias=p.bias * r.integers(0, 2, p.size)) for p in net.populations)
    net = replace(net, populations=some)
    program = placed(net, chips)
    x = images(net, 2, seed)
    report, trace = bill(program, x, chips, states=True)
    sent = {k: flat(v) for k, v in x.items()} | {k: flat(t.spikes) for k, t in trace.layers.items()}
    found = by_hand(program, x, sent)
    slices = program.placement.slices
    for layer in report.layers:
        rows = [i for i, s in enumerate(slices) if s.layer == layer.name]
        mine = {e: sum(found[e, i] for i in rows) / 2 for e in FINE}
        mine["soma_access"] = layer.neurons * program.period(net.time_steps)
        assert layer.counts == pytest.approx(mine)
        pj = sum(n * chips.prices[e].value for e, n in mine.items())
        assert layer.dynamic_uj.typical == pytest.approx(pj * 1e-6)


@pytest.mark.parametrize(
    ("du", "dv", "bias", "updates"),
    [
        (4095, 4096, 0, 2),  # by what arrives in step 1, and by the membrane that it leaves
        (4095, 0, 0, 5),  # which stays
        (4095, 4096, 1, 6),
        (2047, 4096, 0, 5),  # by the current, which halves in a step
    ],
)
def test_a_neuron_at_rest_is_not_updated(du, dv, bias, updates):
    """One spike in step 1 of 0 to 5, at weights of 2 and of 0."""
    net = IntNetwork(
        (InputPort("in", (1,)),), (Lif("p", (2,), du, dv, 131071, np.array([bias, 0]), 0),),
        (Connection("in", "p", Dense(np.array([[2], [0]]))),), {"out": "p"}, 1e-3, 6,
        LOIHI1.numbers, {},
    )  # fmt: skip
    x = np.zeros((1, 6, 1), int)
    x[0, 1] = 1
    report, _ = bill(placed(net, LOIHI1), {"in": x}, LOIHI1)
    (layer,) = report.layers
    assert (layer.counts["soma_access"], layer.counts["soma_update"]) == (12, updates)


@pytest.mark.parametrize("inputs", [1, 8, 9, 60])
def test_a_core_sends_and_receives_at_the_same_time(inputs):
    """Three neurons that always fire, to five on another core; the longest of all lasts a step."""
    p = Lif("p", (3,), 4095, 4096, 1, np.full(3, 99), 6)
    q = Lif("q", (5,), 4095, 4096, 131071, np.zeros(5), 6)
    into = [Connection("in", "p", Dense(np.ones((3, inputs), int)))]
    into.append(Connection("p", "q", Dense(np.ones((5, 3), int))))
    net = IntNetwork(
        (InputPort("in", (inputs,)),),
        (p, q),
        tuple(into),
        {"out": "q"},
        1e-3,
        4,
        LOIHI1.numbers,
        {},
    )
    chip = apart(LOIHI1)
    report, _ = bill(placed(net, chip), {"in": np.ones((2, 4, inputs), int)}, chip)
    assert report.cores == 2
    sends = 3 * (6.0 + 3.7 + 30.0 + 5.1)
    receives = inputs * (16.0 + 3 * 3.8)
    others = max(5 * (6.0 + 3.7), 3 * (16.0 + 5 * 3.8))
    assert report.period_us.typical == pytest.approx(
        4 * (max(sends, receives, others) * 1e-3 + 0.6)
    )


@pytest.mark.parametrize(
    ("cores", "us"), [(1, 0.6), (4, 0.6), (5, 1.0), (12, 1.2), (16, 1.4), (128, 1.8)]
)
def test_cores_meet_by_tiles(cores, us):
    """As long as the barrier of so many tiles, where nothing else takes time."""
    idle = {k: replace(f, value=0.0, low=0.0, high=0.0) for k, f in LOIHI1.timing.items()}
    idle |= {k: f for k, f in LOIHI1.timing.items() if k.startswith("barrier")}
    limits = LOIHI1.limits | {"neurons_per_core": replace(LOIHI1.limits["chips"], value=1.0)}
    chip = replace(LOIHI1, timing=idle, limits=limits)
    net = IntNetwork(
        (InputPort("in", (1,)),), (Lif("p", (cores,), 4095, 4096, 9, np.zeros(cores), 6),),
        (Connection("in", "p", Dense(np.ones((cores, 1), int))),), {"out": "p"}, 1e-3, 3,
        LOIHI1.numbers, {},
    )  # fmt: skip
    report, _ = bill(placed(net, chip), {"in": np.zeros((1, 3, 1), int)}, chip)
    assert report.cores == cores
    assert report.period_us.typical == pytest.approx(3 * us)
