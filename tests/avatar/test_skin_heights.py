"""Heights of the skin by one sparse product: those of the posed surface itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar.lbs import LbsAvatar
from bodystream.avatar.skin_heights import SkinHeights
from bodystream.device.transfers import download
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton

# Half a tenth of a millimetre: the surface is posed in float32.
CLOSE_M = 5e-5


def poses(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    turns = Rotation.from_rotvec(rng.normal(0.0, 0.4, (count * len(JOINTS), 3))).as_quat()
    return turns.reshape(count, len(JOINTS), 4), rng.normal(0.0, 0.5, (count, 3))


@pytest.mark.parametrize("head_m", [1.1, 1.6])
def test_the_lowest_point_is_that_of_the_posed_surface(head_m: float):
    skeleton = fitted_skeleton(head_m)
    avatar = LbsAvatar(skeleton)
    quaternions, roots = poses(5)
    local = Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix().reshape(5, len(JOINTS), 3, 3)
    lowest = SkinHeights(skeleton).lowest_m(*forward_kinematics(skeleton.offsets_m, local, roots))
    assert lowest.shape == (5,)
    for rotation, root, height in zip(quaternions, roots, lowest, strict=True):
        avatar.pose_on_device(rotation.astype(np.float32), root.astype(np.float32))
        assert height == pytest.approx(download(avatar.vertices)[:, 1].min(), abs=CLOSE_M)


def test_somebody_who_stands_has_the_soles_on_the_floor():
    skeleton = fitted_skeleton(1.55)
    at = np.tile(np.eye(3), (1, len(JOINTS), 1, 1))
    root = np.array([[0.0, 1.55 - skeleton.rest_positions_m[15, 1], 0.0]])
    assert SkinHeights(skeleton).lowest_m(*forward_kinematics(skeleton.offsets_m, at, root)) == pytest.approx(
        0.0, abs=0.02
    )


def test_no_poses_have_no_heights_and_no_body_has_such_bones():
    empty = SkinHeights(fitted_skeleton(1.55)).lowest_m(np.zeros((0, 22, 3)), np.zeros((0, 22, 3, 3)))
    assert empty.shape == (0,)
    with pytest.raises(InputError):
        SkinHeights(Skeleton(np.random.default_rng(1).uniform(-0.3, 0.3, (len(JOINTS), 3))))
