"""Checkpoints: a damaged one is never used, and one of another run is refused."""


def newest_data_file(run: Path) -> Path:
    files = [path for path in (run / "checkpoints" / "60").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole: Path, tmp_path: Path, evofool_main: Main, damage: str
) -> None:
    run = copy_of(whole, tmp_path)
    victim = newest_data_file(run)
    content = bytearray(victim.read_bytes())
    if damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
        victim.write_bytes(content)
    elif damage == "remove":
        victim.unlink()
    else:
        for path in (run / "checkpoints" / "60").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    code, out, err = evofool_main("evolve", "--resume", run)
    assert (code, err) == (0, "")
    assert "the checkpoint of generation 60 is damaged" in out
    assert same_archives(run, whole)
    assert len(list((run / "damaged-checkpoints").iterdir())) == 1


def test_a_run_without_a_whole_checkpoint_is_not_resumed(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    for path in (run / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "has no checkpoint that can be read" in one_line(err)
    assert (run / "elites.csv").read_bytes() == (whole / "elites.csv").read_bytes()


def test_another_encoding_in_the_config_is_a_mismatch_and_no_damage(
    whole: Path, tmp_path: Path, evofool_main: Main
) -> None:
    run = copy_of(whole, tmp_path)
    edit_config(run, encoding="student")
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "encoding is 'student' there and 'direct' in" in one_line(err)
    assert not (run / "damaged-checkpoints").exists()
    edit_config(run, encoding="direct", seed=-3)
    code, _, err = evofool_main("evolve", "--resume", run)
    assert code == 1
    assert "settings of the run are damaged" in one_line(err)


def test_a_checkpoint_can_be_afforded_once_the_last_one_is_a_small_share_of_the_time(tmp_path, monkeypatch):
    settings = RunSettings(batch_size=2)
    job = prepare(settings)
    checkpoints = Checkpoints(tmp_path / "checkpoints", settings)
    assert checkpoints.affordable(0.03)
    clock = itertools.chain([1000.0], itertools.repeat(1003.0))  # begun, and whole three seconds later
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    checkpoints.save(job.search.init(jax.random.key(0), job.scorer))
    checkpoints.finish()
    monkeypatch.setattr(time, "perf_counter", lambda: 1099.0)
    assert not checkpoints.affordable(0.03)
    monkeypatch.setattr(time, "perf_counter", lambda: 1101.0)
    assert checkpoints.affordable(0.03)
    checkpoints.close()
