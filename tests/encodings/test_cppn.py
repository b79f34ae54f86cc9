"""CPPN graphs stay valid under any mutations, and are rendered as their plain evaluation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evofool import (
    CPPNOptions,
    Encoding,
    MapElitesOptions,
    UsageError,
    cppn,
    create_classifier,
    map_elites,
    run,
)
from evofool.encodings.colour import hls_to_rgb
from evofool.encodings.graphs import FUNCTIONS, INPUTS, Graphs

SHAPES = {1: (9, 14, 1), 3: (7, 6, 3)}
RATES = ("add_connection_rate", "delete_connection_rate", "add_node_rate", "delete_node_rate")
UNCHANGED = dict.fromkeys((*RATES, "weight_mutation_rate", "function_mutation_rate"), 0.0)
EPSILON = 2.0**-23


class Compiled:
    """An encoding whose functions are compiled once, and its budgets."""

    def __init__(
        self, room: int = 8, connections: int = 30, channels: int = 1, **options: float | str
    ) -> None:
        self.shape, self.room, self.connections = SHAPES[channels], room, connections
        encoding = cppn(self.shape, CPPNOptions(hidden_nodes=room, connections=connections, **options))
        self.init, self.vary, self.render = map(jax.jit, encoding[:3])
        self.metrics = encoding.metrics

    def evolved(self, seed: int, generations: int, pairs: int = 2) -> Graphs:
        """Random genomes after some generations of random mutations."""
        key = jax.random.key(seed)
        genomes = self.init(jax.random.split(key, 2 * pairs))
        for generation in range(generations):
            keys = jax.random.split(jax.random.fold_in(key, generation), pairs)
            genomes = merged(self.vary(keys, paired(genomes), jnp.int32(generation)))
        return genomes


def paired(genomes: Graphs) -> Graphs:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, 2, *leaf.shape[1:]), genomes)


def merged(pairs: Graphs) -> Graphs:
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), pairs)


@pytest.fixture(scope="module")
def growing() -> Compiled:
    return Compiled(room=40, connections=120)


@pytest.fixture(scope="module")
def crowded() -> Compiled:
    """Operators fire often and the budgets are tight."""
    often = dict(zip(RATES, (1.0, 0.6, 1.0, 0.6), strict=True))
    return Compiled(room=5, connections=17, channels=3, function_mutation_rate=0.5, **often)


def assert_valid(graphs: Graphs, room: int, connections: int, outputs: int) -> None:
    graphs = jax.tree.map(np.asarray, graphs)
    assert graphs.weights.shape[1] == connections
    assert graphs.functions.shape[1] == room + outputs
    assert ((graphs.functions >= 0) & (graphs.functions < len(FUNCTIONS))).all()
    assert ((graphs.weights >= 0) & (graphs.weights <= 1)).all()
    first_output = len(INPUTS) + room
    for hidden, sources, targets in zip(graphs.hidden_nodes, graphs.sources, graphs.targets, strict=True):
        assert 0 <= hidden <= room
        used = targets > 0
        assert (sources[~used] == 0).all()
        edges = list(zip(sources[used].tolist(), targets[used].tolist(), strict=True))
        assert len(set(edges)) == len(edges)
        for source, target in edges:
            assert source < target
            assert 0 <= source < len(INPUTS) + hidden
            assert (
                len(INPUTS) <= target < len(INPUTS) + hidden
                or first_output <= target < first_output + outputs
            )


def evaluated(graph: Graphs, shape: tuple[int, int, int], room: int) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of one graph at each pixel by plain recursion, and a bound on the error of float32."""
    height, width, outputs = shape
    longest = max(height, width)
    y, x = np.meshgrid(
        (2 * np.arange(height) - (height - 1)) / (longest - 1),
        (2 * np.arange(width) - (width - 1)) / (longest - 1),
        indexing="ij",
    )
    inputs = (x, y, np.sqrt(x**2 + y**2), np.ones_like(x))
    incoming: dict[int, list[tuple[int, float]]] = {}
    for source, target, gene in zip(graph.sources, graph.targets, graph.weights, strict=True):
        if target:
            incoming.setdefault(int(target), []).append((int(source), (2 * float(gene) - 1) * 10))

    def value(node: int) -> tuple[np.ndarray, np.ndarray]:
        if node < len(INPUTS):
            return inputs[node], np.abs(inputs[node]) * EPSILON
        z = error = np.zeros((height, width))
        for source, weight in incoming.get(node, []):
            term, term_error = value(source)
            z = z + weight * term
            error = error + abs(weight) * term_error + 2 * EPSILON * (np.abs(weight * term) + np.abs(z))
        function = FUNCTIONS[graph.functions[node - len(INPUTS)]]
        if function == "sine":
            return np.sin(z), np.abs(np.cos(z)) * error + error**2 + 4 * EPSILON
        if function == "sigmoid":
            return 2 / (1 + np.exp(-z)) - 1, error / (1 + np.cosh(z)) + error**2 + 4 * EPSILON
        if function == "gaussian":
            return np.exp(-(z**2)), 2 * np.abs(z) * np.exp(-(z**2)) * error + error**2 + 4 * EPSILON
        assert function == "linear"
        return np.clip(z, -3, 3) / 3, error / 3 + 2 * EPSILON

    values, errors = zip(*(value(len(INPUTS) + room + output) for output in range(outputs)), strict=True)
    return np.stack(values, axis=-1), np.stack(errors, axis=-1)


def assert_drawn_as_evaluated(compiled: Compiled, graphs: Graphs) -> None:
    images = np.asarray(compiled.render(graphs)) * 255
    graphs = jax.tree.map(np.asarray, graphs)
    for index, image in enumerate(images):
        graph = jax.tree.map(lambda leaf, index=index: leaf[index], graphs)
        values, errors = evaluated(graph, compiled.shape, compiled.room)
        exact, margin = 255 * np.abs(values), 4 * 255 * errors
        levels = np.floor(exact)
        grey = compiled.shape[-1] == 1
        expected = levels if grey else np.asarray(hls_to_rgb(jnp.asarray(levels, jnp.float32)))
        # Single precision tells the level wherever it is not too near to the next.
        distance = np.minimum(exact - levels, levels + 1 - exact)
        certain = (distance > margin).all(axis=-1)
        np.testing.assert_allclose(image[certain], expected[certain], atol=1e-3)
        if grey:
            close = margin[..., 0] < 0.5
            assert (np.abs(image - expected)[close] <= 1.001).all()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), generations=st.integers(0, 25))
def test_any_mutations_leave_a_valid_graph_that_is_rendered_correctly(
    growing: Compiled, seed: int, generations: int
) -> None:
    graphs = growing.evolved(seed, generations)
    assert_valid(graphs, growing.room, growing.connections, outputs=1)
    assert_drawn_as_evaluated(growing, graphs)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31 - 1), generations=st.integers(0, 40))
def test_any_mutations_keep_within_tight_budgets(crowded: Compiled, seed: int, generations: int) -> None:
    graphs = crowded.evolved(seed, generations)
    assert_valid(graphs, crowded.room, crowded.connections, outputs=3)
    assert_drawn_as_evaluated(crowded, graphs)


def test_the_error_bound_decides_nearly_every_pixel(growing: Compiled) -> None:
    """Otherwise the tests above would compare almost nothing."""
    graphs = jax.tree.map(np.asarray, growing.evolved(seed=1, generations=25, pairs=8))
    errors = [
        evaluated(jax.tree.map(lambda leaf, index=index: leaf[index], graphs), growing.shape, growing.room)[1]
        for index in range(16)
    ]
    assert np.mean(4 * 255 * np.stack(errors) < 0.5) > 0.9


def test_random_genomes_connect_every_input_to_every_output() -> None:
    encoding = Compiled(room=5, connections=14, channels=3)
    graphs = encoding.init(jax.random.split(jax.random.key(0), 200))
    assert_valid(graphs, 5, 14, outputs=3)
    assert graphs.hidden_nodes.tolist() == [0] * 200
    assert (graphs.targets > 0).sum(axis=1).tolist() == [12] * 200
    shares = np.bincount(np.asarray(graphs.functions[:, 5:]).ravel(), minlength=4) / 600
    assert np.abs(shares - 0.25).max() < 0.07
    assert 0.4 < float(graphs.weights[:, :12].mean()) < 0.6


def test_without_operators_offspring_are_their_parents(growing: Compiled) -> None:
    still = Compiled(growing.room, growing.connections, **UNCHANGED)
    parents = growing.evolved(seed=3, generations=20)
    children = merged(still.vary(jax.random.split(jax.random.key(0), 2), paired(parents), jnp.int32(0)))
    jax.tree.map(np.testing.assert_array_equal, children, parents)


@pytest.mark.parametrize("operator", ["add_connection_rate", "delete_connection_rate", "delete_node_rate"])
def test_an_operator_changes_no_other_connections(growing: Compiled, operator: str) -> None:
    """Nodes may be renumbered: the image without the changed connections stays the same."""
    only = Compiled(growing.room, growing.connections, **{**UNCHANGED, operator: 1.0})
    parents = growing.evolved(seed=4, generations=25, pairs=20)
    children = merged(only.vary(jax.random.split(jax.random.key(1), 20), paired(parents), jnp.int32(0)))
    was, now = parents.targets > 0, children.targets > 0
    changed = was != now
    if operator == "delete_node_rate":
        assert (children.hidden_nodes == jnp.maximum(parents.hidden_nodes - 1, 0)).all()
        assert int(changed.sum()) > 40
    else:
        assert changed.sum(axis=1).max() == 1
        assert changed.sum() >= 38
        assert (now.sum() > was.sum()) == (operator == "add_connection_rate")
        assert (children.hidden_nodes == parents.hidden_nodes).all()
    weightless = [
        graphs._replace(weights=jnp.where(changed, 0.5, graphs.weights)) for graphs in (parents, children)
    ]
    np.testing.assert_array_equal(*map(np.asarray, map(growing.render, weightless)))


def test_a_new_node_is_put_in_the_middle_of_a_connection(growing: Compiled) -> None:
    only = Compiled(growing.room, growing.connections, **{**UNCHANGED, "add_node_rate": 1.0})
    parents = only.init(jax.random.split(jax.random.key(2), 2))
    children = merged(only.vary(jax.random.split(jax.random.key(3), 1), paired(parents), jnp.int32(0)))
    assert children.hidden_nodes.tolist() == [1, 1]
    for sources, targets, weights in zip(children.sources, children.targets, children.weights, strict=True):
        (into,) = np.flatnonzero(targets == len(INPUTS))
        (out,) = np.flatnonzero((sources == len(INPUTS)) & (targets > 0))
        assert weights[into] == weights[out]
        assert targets[out] == len(INPUTS) + growing.room


def test_operators_without_room_are_skipped_and_counted() -> None:
    adding = Compiled(
        room=2, connections=7, **{**UNCHANGED, "add_connection_rate": 1.0, "add_node_rate": 1.0}
    )
    graphs = adding.evolved(seed=0, generations=1, pairs=3)
    assert adding.metrics(graphs)["skipped_nodes"] == adding.metrics(graphs)["skipped_connections"] == 0
    graphs = adding.evolved(seed=0, generations=6, pairs=3)
    assert_valid(graphs, 2, 7, outputs=1)
    metrics = {name: float(value) for name, value in adding.metrics(graphs).items()}
    assert metrics == {
        "mean_hidden_nodes": 2,
        "mean_connections": 7,
        "skipped_nodes": 6,
        "skipped_connections": 6,
    }


def test_a_graph_without_connections_can_be_drawn_and_varied(crowded: Compiled) -> None:
    full = crowded.evolved(seed=0, generations=0)
    empty = full._replace(
        sources=jnp.zeros_like(full.sources),
        targets=jnp.zeros_like(full.targets),
        weights=jnp.zeros_like(full.weights),
    )
    assert_drawn_as_evaluated(crowded, empty)
    children = merged(crowded.vary(jax.random.split(jax.random.key(0), 2), paired(empty), jnp.int32(0)))
    assert_valid(children, crowded.room, crowded.connections, outputs=3)
    assert int((children.targets > 0).sum(axis=1).max()) <= 2
    assert not children.skipped_nodes.any()


@pytest.mark.exact
def test_results_do_not_depend_on_how_a_population_is_split(growing: Compiled) -> None:
    graphs = growing.evolved(seed=5, generations=15, pairs=6)
    keys = jax.random.split(jax.random.key(6), 6)
    whole = growing.vary(keys, paired(graphs), jnp.int32(0))
    images = np.asarray(growing.render(graphs))
    for part in (slice(0, 2), slice(2, 4), slice(4, 6)):
        parents = Graphs(*(leaf[part] for leaf in paired(graphs)))
        children = growing.vary(keys[part], parents, jnp.int32(0))
        for some, all_of_them in zip(children, whole, strict=True):
            np.testing.assert_array_equal(some, all_of_them[part])
    for start in range(0, 12, 4):
        some = Graphs(*(leaf[start : start + 4] for leaf in graphs))
        np.testing.assert_array_equal(np.asarray(growing.render(some)), images[start : start + 4])


def graph_of(connections: list[tuple[int, int, float]], functions: list[str], room: int) -> Graphs:
    """One graph written out: (source, target, weight up to 4), and the function of each node."""
    sources, targets, weights = zip(*connections, strict=True)
    return Graphs(
        hidden_nodes=jnp.array([room]),
        functions=jnp.array([[FUNCTIONS.index(name) for name in functions]]),
        sources=jnp.array([sources]),
        targets=jnp.array([targets]),
        weights=(jnp.array([weights]) / 4 + 1) / 2,
        skipped_nodes=jnp.array([False]),
        skipped_connections=jnp.array([False]),
    )


def drawn(encoding: Encoding, graph: Graphs) -> np.ndarray:
    return np.asarray(encoding.render(graph))[0] * 255


def test_coordinates_and_the_distance_from_the_centre() -> None:
    unit = cppn((3, 5, 1), CPPNOptions(hidden_nodes=1, connections=4, max_weight=4.0))
    pixels = cppn((3, 5, 1), CPPNOptions(hidden_nodes=1, connections=4, max_weight=4.0, coordinates="pixels"))

    def seen(encoding: Encoding, source: int, weight: float) -> np.ndarray:
        return drawn(encoding, graph_of([(source, 5, weight)], ["sine", "linear"], room=1))[..., 0]

    np.testing.assert_allclose(seen(unit, 0, 3)[1], [255, 127, 0, 127, 255], atol=1e-3)
    np.testing.assert_allclose(seen(unit, 1, 3)[:, 0], [127, 0, 127], atol=1e-3)
    np.testing.assert_allclose(seen(unit, 2, 2)[[0, 1], [0, 1]], [190, 85], atol=1e-3)
    np.testing.assert_allclose(seen(unit, 3, 1.5), np.full((3, 5), 127), atol=1e-3)
    np.testing.assert_allclose(seen(pixels, 0, 0.5)[0], [0, 42, 85, 127, 170], atol=1e-3)
    np.testing.assert_allclose(seen(pixels, 1, 0.5)[:, 4], [0, 42, 85], atol=1e-3)
    np.testing.assert_array_equal(seen(pixels, 2, 2), seen(unit, 2, 2))


@pytest.mark.parametrize(
    ("function", "values"),
    [
        ("sine", np.sin),
        ("sigmoid", lambda z: 2 / (1 + np.exp(-z)) - 1),
        ("gaussian", lambda z: np.exp(-(z**2))),
        ("linear", lambda z: np.clip(z, -3, 3) / 3),
    ],
)
def test_node_functions(function: str, values: np.ufunc) -> None:
    encoding = cppn((1, 401, 1), CPPNOptions(hidden_nodes=1, connections=4, max_weight=4.0))
    image = drawn(encoding, graph_of([(0, 5, 4.0)], ["linear", function], room=1))[0, :, 0]
    expected = 255 * np.abs(values(4 * np.linspace(-1, 1, 401)))
    assert np.abs(image - np.floor(expected)).max() <= 1.001
    assert np.mean(np.abs(image - np.floor(expected)) < 1e-3) > 0.9


def test_large_and_narrow_images_are_drawn_in_pieces() -> None:
    """Beyond what one step computes: the pieces fit together, and there are no others."""
    for shape in ((301, 217, 1), (1, 70001, 1)):
        encoding = cppn(shape, CPPNOptions(hidden_nodes=1, connections=4, max_weight=4.0))
        image = drawn(encoding, graph_of([(0, 5, 3.0)], ["sine", "linear"], room=1))[..., 0]
        _, width, _ = shape
        longest = max(shape)
        x = (2 * np.arange(width) - (width - 1)) / (longest - 1)
        np.testing.assert_allclose(image, np.broadcast_to(255 * np.abs(x), shape[:2]), atol=1.01)


def test_a_run_records_what_became_of_the_graphs() -> None:
    classifier = create_classifier("linear", (8, 8, 1), ("even", "odd"))
    seen: list[dict[str, np.ndarray]] = []
    encoding = cppn((8, 8, 1), CPPNOptions(hidden_nodes=4, connections=9))
    run(
        map_elites(encoding, MapElitesOptions(21)),
        classifier,
        60,
        chunk=30,
        on_chunk=lambda state, metrics: seen.append(metrics),
    )
    assert seen[0]["mean_hidden_nodes"][0] == 0
    assert seen[0]["mean_connections"][0] == 4
    assert 1 < seen[1]["mean_hidden_nodes"][-1] <= 4
    for name in ("skipped_nodes", "skipped_connections"):
        assert seen[0][name][0] == 0
        assert 0 < seen[1][name].max() < 21


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((0, 8, 1), {}, "height must be above zero, not 0"),
        ((8, 8, 2), {}, "1 channel (grey) or 3 (RGB), not 2"),
        ((8, 8, 1), {"hidden_nodes": 0}, "hidden_nodes must be above zero, not 0"),
        ((8, 8, 3), {"connections": 11}, "connections must be 12 or more for 3 output(s), not 11"),
        ((8, 8, 1), {"connections": 3}, "connections must be 4 or more"),
        ((8, 8, 1), {"max_weight": 0.0}, "max_weight must be above zero"),
        ((8, 8, 1), {"add_node_rate": 1.5}, "add_node_rate must be between 0 and 1, not 1.5"),
        ((8, 8, 1), {"delete_node_rate": float("nan")}, "delete_node_rate must be between 0 and 1"),
        ((8, 8, 1), {"weight_mutation_eta": -1.0}, "weight_mutation_eta must be 0 or more"),
    ],
)
def test_what_cannot_be_is_refused(shape: tuple[int, int, int], options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        cppn(shape, CPPNOptions(**options))
