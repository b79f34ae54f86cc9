"""Throughput of a search by batch size, number of classes and image size."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import evofool
from benchmarks.harness import (
    BARE,
    Curves,
    Effort,
    Side,
    Table,
    bare_forward,
    compare,
    contender,
    lenet,
    searching,
)
from evofool import Classifier, Encoding, Search

Part = Table | Curves


def batch_size(effort: Effort) -> Iterator[Part]:
    """Throughput of MAP-Elites and of the student's strategy against a LeNet, by batch size."""
    network = lenet(effort, "sigmoid")
    shape = network.spec.input_shape
    sizes = effort.size((50, 100, 200, 400, 1024, 2048, 4096, 8192, 16_384), (8, 16))
    most = max(sizes)

    def sides(size: int) -> dict[str, Callable[[], Side]]:
        student = evofool.evolution_strategy(
            evofool.student(shape), evofool.StrategyOptions(size), targets=(3,)
        )
        searches = {
            "direct": evofool.map_elites(evofool.direct(shape), evofool.MapElitesOptions(size)),
            "student": student,
        }
        return _sides(network, size, max(1, most // size), searches)

    points = {size: sides(size) for size in sizes}
    title = f"Throughput against {network.spec.name} by batch size"
    yield from _sweep(title, "batch size", points, effort.repeats(3))


def classes(effort: Effort) -> Iterator[Part]:
    """Throughput of MAP-Elites by the number of classes, against LeNets with random weights."""
    batch, repeats = effort.size((1024, 5), (8, 1))

    def sides(count: int) -> dict[str, Callable[[], Side]]:
        names = tuple(f"class {index}" for index in range(count))
        network = evofool.create_classifier("lenet", (28, 28, 1), names)
        return _encoded(network, batch, repeats)

    counts = effort.size((10, 30, 100, 300, 1000), (2, 4))
    points = {count: sides(count) for count in counts}
    yield from _sweep(
        f"Throughput by the number of classes, batch {batch:,}", "classes", points, effort.repeats(3)
    )


def image_size(effort: Effort) -> Iterator[Part]:
    """Throughput of MAP-Elites by the size of colour images, against MobileNets with random weights."""
    names = tuple(f"class {index}" for index in range(effort.size(100, 4)))

    def sides(size: int, batch: int) -> dict[str, Callable[[], Side]]:
        network = evofool.create_classifier("mobilenet-v1-0.25", (size, size, 3), names)
        return _encoded(network, batch, repeats=1)

    # Equal pixels per batch.
    batches = effort.size({32: 2048, 64: 512, 128: 128, 256: 32}, {32: 4})
    points = {size: sides(size, batch) for size, batch in batches.items()}
    title = "Throughput by the height and width of the images, at equal pixels per batch"
    yield from _sweep(title, "height and width", points, effort.repeats(3))


def _encoded(network: Classifier, batch: int, repeats: int) -> dict[str, Callable[[], Side]]:
    encodings: dict[str, Callable[[Any], Encoding]] = {"direct": evofool.direct, "CPPN": evofool.cppn}
    searches = {
        name: evofool.map_elites(encoding(network.spec.input_shape), evofool.MapElitesOptions(batch))
        for name, encoding in encodings.items()
    }
    return _sides(network, batch, repeats, searches)


def _sides(
    network: Classifier, batch: int, repeats: int, searches: Mapping[str, Search]
) -> dict[str, Callable[[], Side]]:
    return {
        BARE: lambda: bare_forward(network, batch, repeats),
        **{
            f"evofool, {name}": lambda search=search: searching(contender(search, network, repeats), network)
            for name, search in searches.items()
        },
    }


def _sweep(
    title: str, axis: str, points: Mapping[int, dict[str, Callable[[], Side]]], rounds: int
) -> Iterator[Part]:
    """Compare the sides at each point of an axis: a table, and curves of the throughput and of the ratio."""
    measured: dict[tuple[str, str], dict[str, list[float]]] = {}
    rows = []
    for point, builders in points.items():
        table = compare(f"{title}: {point:,}", builders, rounds)
        for row in table.rows:
            rows.append({axis: point, **row})
            for figure in ("evaluations_per_second", "ratio_to_the_bare_pass"):
                line = measured.setdefault((figure, row["side"]), {"x": []})
                line["x"].append(point)
                for name, value in row[figure].items():
                    line.setdefault(name, []).append(value)
    yield Table(title, rows)
    for figure, label in (
        ("evaluations_per_second", "evaluations/s"),
        ("ratio_to_the_bare_pass", "share of the forward pass"),
    ):
        lines = {side: line for (name, side), line in measured.items() if name == figure}
        yield Curves(title, axis, label, lines, logarithmic=True)
