"""Bundles that a user chooses go before those that are found; names stay sealed without a choice."""

from __future__ import annotations

import copy
import pickle
import shutil
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from bodystream.bundles import KNOWN, BundleChoice, KnownBundle, bundle_folders, find_bundle, locate
from bodystream.errors import BundleError, ConfigurationError
from helpers.bundles import write_bundle, zip_bundle


def test_the_chosen_one_goes_first_whatever_its_name_is(tmp_path: Path) -> None:
    mine = shutil.copytree(find_bundle("person").place, tmp_path / "somewhere")
    choice = BundleChoice.parse([f"person={mine}"], ("person", "pose"))
    assert choice.open("person").place == mine
    assert choice.open("pose").place == find_bundle("pose").place
    zipped = zip_bundle(mine, tmp_path / "x.zip")
    assert BundleChoice({"person": zipped}).open("person").place == zipped


def test_nothing_in_a_folder_of_bundles_changes_what_a_shipped_name_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "pose", "pose-sampler", {"sampler.onnx": b"other"})
    monkeypatch.setenv("BODYSTREAM_BUNDLES", str(tmp_path))
    assert BundleChoice().open("pose").place == find_bundle("pose").place != tmp_path / "pose"


def test_a_choice_does_not_change(tmp_path: Path) -> None:
    places = {"pose": tmp_path}
    choice = BundleChoice(places)
    places["pose"] = tmp_path / "other"
    assert choice.places["pose"] == tmp_path
    with pytest.raises(TypeError):
        choice.places["pose"] = tmp_path  # type: ignore[index]
    assert choice == BundleChoice({"pose": tmp_path}) and hash(choice) == hash(BundleChoice({"pose": tmp_path}))
    for again in (pickle.loads(pickle.dumps(choice)), copy.deepcopy(choice)):
        assert again == choice and isinstance(again.places, MappingProxyType)


def test_the_home_folder_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert BundleChoice.parse(["pose=~/mine"], KNOWN).places["pose"] == tmp_path / "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pose"], r"--bundle takes NAME=PATH, such as pose=mine\.zip, got 'pose'"),
        (["=x"], "takes NAME=PATH"),
        (["pose="], "takes NAME=PATH"),
        (["pose=a", "pose=b"], "--bundle pose was given twice: a and b"),
        (["flow=a"], "no bundle 'flow' to be chosen here, only pose"),
        (["person=a"], "no bundle 'person' to be chosen here, only pose"),
    ],
)
def test_words_that_choose_nothing_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        BundleChoice.parse(words, ("pose",))
    with pytest.raises(ConfigurationError, match="only person, pose, flow, flow-full"):
        BundleChoice({"avatar": Path()})


def test_the_wrong_kind_is_refused_where_it_is_used(tmp_path: Path) -> None:
    place = write_bundle(tmp_path / "mine", "skinned-body", {"rig.npz": b"x"})
    with pytest.raises(BundleError, match=r"'mine' \(.*\) is of the kind 'skinned-body', not 'pose-sampler': choose"):
        BundleChoice({"pose": place}).open("pose")


@pytest.mark.parametrize("place", ["absent", "empty", "absent.zip"])
def test_a_choice_that_is_not_there_is_no_reason_for_another(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=rf"{place}.*cannot be read \(No such file"):
        BundleChoice({"pose": tmp_path / place}).open("pose")


def test_a_second_distribution_is_a_folder_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bodystream_bundles"
    write_bundle(package / "walker", "test", {"a": b"a"})
    write_bundle(package / "pose", "pose-sampler", {"a": b"a"})
    (package / "__init__.py").write_text("raise ImportError('is never run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BODYSTREAM_BUNDLES", str(tmp_path / "more"))
    assert bundle_folders()[1:] == [package, tmp_path / "more"]
    assert find_bundle("walker").place == package / "walker"
    assert find_bundle("pose").place != package / "pose"
    assert "bodystream_bundles" not in sys.modules


def test_a_known_bundle_that_is_missing_says_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locate, "_FURTHER", "a_package_that_is_nowhere")
    monkeypatch.setitem(KNOWN, "wide", KnownBundle("flow", "bodystream-bundles"))
    with pytest.raises(BundleError, match=r"no bundle 'wide' in .*: pip install bodystream-bundles"):
        find_bundle("wide")
    monkeypatch.setattr(locate, "_SHIPPED", tmp_path)
    with pytest.raises(BundleError, match=r"no bundle 'pose' in .*: pip install --force-reinstall .*bodystream"):
        find_bundle("pose")
