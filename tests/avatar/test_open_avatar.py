"""Avatars by name, by bundle and by what a program makes itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bodystream.avatar import Avatar, LbsAvatar, open_avatar
from bodystream.avatar.open import avatar_label, avatar_maker
from bodystream.bundles import find_bundle, open_bundle
from bodystream.device import select_device
from bodystream.errors import BundleError, InputError
from helpers.avatar_poses import IDENTITY, SKELETONS, own_skeleton
from helpers.plain_avatar import PlainAvatar

PERSON = find_bundle("person")


@pytest.mark.parametrize(
    "choice", ["default", PERSON, PERSON.place, str(PERSON.place)], ids=["name", "bundle", "folder", "path"]
)
def test_the_shipped_body_is_opened_by_its_name_and_as_a_bundle(choice: object) -> None:
    skeleton = SKELETONS["long limbs"]()
    avatar = open_avatar(choice, skeleton)  # type: ignore[arg-type]
    assert isinstance(avatar, LbsAvatar) and avatar.device.is_cpu
    np.testing.assert_array_equal(avatar.skeleton.offsets_m, skeleton.offsets_m)
    wanted = LbsAvatar(skeleton).pose(IDENTITY, np.zeros(3))
    np.testing.assert_array_equal(avatar.pose(IDENTITY, np.zeros(3)).vertices, wanted.vertices)


def test_without_a_skeleton_a_body_has_its_own() -> None:
    np.testing.assert_allclose(open_avatar().skeleton.offsets_m, own_skeleton().offsets_m)


def test_a_program_brings_its_own() -> None:
    made = open_avatar(PlainAvatar, own_skeleton(), select_device("cpu"))
    assert isinstance(made, PlainAvatar) and isinstance(made, Avatar) and made.skin is None
    assert avatar_maker(PlainAvatar) is PlainAvatar


def test_what_an_avatar_is_called() -> None:
    assert avatar_label("default") == "default" and avatar_label(PlainAvatar) == "PlainAvatar"
    assert avatar_label(PERSON) == f"person {PERSON.manifest.version}"


def test_an_unknown_avatar_is_told_with_those_that_there_are() -> None:
    with pytest.raises(
        InputError, match="there is no avatar 'ins': choose default, default-clothed, or give a .vrm file, or a bundle"
    ):
        open_avatar("ins")


def test_a_bundle_of_another_kind_is_no_avatar(tmp_path: Path) -> None:
    pose = find_bundle("pose")
    said = re.escape("the bundle 'pose' is a pose-sampler, which is no avatar: give one of skinned-body")
    for choice in (pose, pose.place):
        with pytest.raises(InputError, match=said):
            open_avatar(choice)
    with pytest.raises(BundleError):
        open_avatar(tmp_path)


def test_a_damaged_bundle_is_refused_when_it_is_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "person"
    folder.mkdir()
    for file in PERSON.place.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    open_bundle(folder)
    (folder / "rig.npz").write_bytes(b"\0" * (folder / "rig.npz").stat().st_size)
    with pytest.raises(BundleError, match="rig.npz"):
        avatar_maker(folder)
