"""The log of a run: valid JSON, of which nothing readable is ever lost."""


def test_the_metrics_are_one_object_per_generation(whole: Path) -> None:
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [record["generation"] for record in records] == list(range(1, 61))
    assert [record["evaluations"] for record in records] == list(range(20, 1220, 20))
    assert {
        "seconds",
        "evaluations_per_second",
        "median_confidence",
        "mean_confidence",
        "min_confidence",
        "niches_over_0.99",
        "niches_over_0.9999",
        "replacements",
    } <= records[0].keys()
    assert all(a["seconds"] < b["seconds"] for a, b in itertools.pairwise(records))
