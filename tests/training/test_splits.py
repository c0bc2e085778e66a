"""Whole subjects for validation and test, by name or by chance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodystream.errors import BodystreamError, ConfigurationError, InputError
from bodystream_training.pose.splits import SPLITS, SplitChoice, read_run, split_of, write_run
from helpers.fuzzing import fuzz_file

NAMES = st.lists(st.sampled_from([f"person{i}" for i in range(30)] + ["unknown_run"]), min_size=4, max_size=60)


@given(NAMES, st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.integers(0, 99))
def test_drawn_splits_are_whole_disjoint_and_repeatable(
    names: list[str], first: float, second: float, seed: int
) -> None:
    choice = SplitChoice(validation_share=first, test_share=second, seed=seed)
    known = set(names) - {"unknown_run"}
    if len(known) < 4:
        return
    splits = choice.resolve(names, "bvh:own")
    assert splits == choice.resolve([*reversed(names), *names], "bvh:own"), "whatever the order of the takes"
    test, validation = set(splits["test"]), set(splits["validation"])
    train = {name for name in names if split_of(name, splits) == "train"}
    assert test and validation and train and not (test & validation) and train | test | validation == known
    for drawn, share in ((validation, first), (test, second)):
        assert len(drawn) == max(1, round(share * len(known)))
    assert split_of("unknown_run", splits) == "none"


def test_names_win_and_the_rest_is_drawn_from_the_others() -> None:
    known = [f"person{i}" for i in range(10)]
    splits = SplitChoice(validation=("person3",), test_share=0.5).resolve(known, "DATA")
    assert splits["validation"] == ("person3",) and "person3" not in splits["test"]
    assert SplitChoice().resolve([*known, "cmu_09"], "DATA") == SPLITS, "the published subjects where nothing is said"
    with pytest.raises(InputError, match="unless you name others.*--validation-share"):
        SplitChoice().resolve(known, "DATA")
    with pytest.raises(ConfigurationError, match="person1 cannot be of the test and of the validation"):
        SplitChoice(("person1",), ("person1", "person2")).resolve(known, "DATA")
    with pytest.raises(ConfigurationError, match="nobody is left to train.*1 subjects"):
        SplitChoice(validation_share=0.5).resolve(["anna"], "DATA")
    for share in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ConfigurationError, match="between 0 and 1"):
            SplitChoice(validation_share=share).resolve(known, "DATA")


def test_a_run_is_read_as_it_was_written_and_an_older_one_has_the_published_splits(tmp_path: Path) -> None:
    facts = {"subjects": ["anna"], "recipes": {"flow": "words"}, "splits": {"test": ("b",), "validation": ("c",)}}
    write_run(tmp_path, facts)
    assert read_run(tmp_path) == facts
    del facts["splits"]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert read_run(tmp_path)["splits"] == SPLITS
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_fuzz_run_facts(tmp_path: Path) -> None:
    seed = json.dumps({"subjects": ["anna"], "recipes": {"flow": "w"}, "splits": {"test": ["b"], "validation": ["c"]}})
    fuzz_file(lambda path: read_run(path.parent), [seed.encode()], tmp_path / "run.json")
    for text in ("[]", "3", '{"subjects": 3}', '{"subjects": [], "recipes": []}', "[" * 9999):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(BodystreamError, match="run.json"):
            read_run(tmp_path)
