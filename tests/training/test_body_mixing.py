"""Limbs that change places, and the numbers of such bodies beside those of their features."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.body import PARTS
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from helpers.bar_people import bar_people
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream_training.body.components import begin_at_components  # noqa: E402
from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.mixing import LIMBS, Limbs, Mixed, limbs_of_skin  # noqa: E402
from bodystream_training.body.narrow import NarrowTask  # noqa: E402
from bodystream_training.body.tasks import BodyTask, first_network  # noqa: E402

SIZES = {"shape": 4, "pose": 5, "hidden": 16, "wide": 32, "rank": 10, "seen": 9}


class Halves(MeshFolder):
    """Bars whose upper end is a limb."""

    def limbs(self) -> Limbs:
        heights = self.reference.vertices[:, 1]
        masks = np.clip((heights - np.median(heights)) / 0.3, 0.0, 1.0)[None].astype(np.float32)
        return Limbs(masks, np.where(np.arange(self.parts) == self.parts - 1, 0, -1), np.array([0]))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> BodyFeatures:
    folder = bar_people(tmp_path_factory.mktemp("people") / "bars")
    return cached_features(Halves(folder), tmp_path_factory.mktemp("features"))


def mixture(features: BodyFeatures, person: int, limb: int, trunk: int) -> Mixed:
    return Mixed(torch.tensor([features.items[person].neutral]), torch.tensor([[limb, trunk]]))


def test_a_body_mixed_of_itself_is_itself(features: BodyFeatures) -> None:
    item = int(features.train_posed[3])
    found = features.mixed(mixture(features, item, item, item), 0)
    for one, other in zip(found, features[item], strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_each_end_follows_its_own_pose(features: BodyFeatures) -> None:
    one, other = (int(n) for n in features.train_posed[[0, 2]])
    assert features.items[one].neutral == features.items[other].neutral and features.mixer is not None
    mixed = features.mixed(mixture(features, one, other, one), 0)[0]
    mask = features.mixer.limbs.masks[0]
    assert torch.allclose(mixed[mask == 0.0], features[one][0][mask == 0.0], atol=1e-5)
    assert torch.allclose(mixed[mask == 1.0], features[other][0][mask == 1.0], atol=1e-5)


def test_numbers_of_a_mixture_are_those_of_its_features(features: BodyFeatures) -> None:
    torch.manual_seed(0)
    model = first_network("dhnn", features, SIZES)
    numbers = begin_at_components(model, features, 0)
    one, other = (int(n) for n in features.train_posed[[1, -1]])
    assert features.items[one].neutral != features.items[other].neutral
    f = features.mixed(mixture(features, one, other, one), 0)[0]
    seen = numbers.seen[features.items[one].neutral] + sum(
        numbers.added[donor, limb, : SIZES["seen"]] for limb, donor in enumerate((other, one))
    )
    assert torch.allclose(model.trunk[0](f.flatten()[None])[0], seen, atol=2e-3)


def test_both_trainings_see_mixtures(features: BodyFeatures) -> None:
    torch.manual_seed(0)
    model = first_network("dhnn", features, SIZES)
    narrow = NarrowTask(model, begin_at_components(model, features, 0), features, {})
    index, drawn = torch.arange(16), torch.Generator().manual_seed(3)
    seen, wanted, neutral = narrow.batch(index, drawn)
    assert len(seen) == len(wanted) == len(neutral) == 16
    whole = BodyTask("dhnn", features, SIZES)
    f, g, f_s, g_s = whole.batch(index, torch.Generator().manual_seed(3))
    # The same draws: what the encoder sees of the one is what it sees of the other.
    assert torch.allclose(model.trunk[0](f.flatten(1)), seen, atol=5e-3)
    assert torch.allclose(wanted[:, : g[0].numel()], g.flatten(1), atol=1e-4)
    assert torch.allclose(neutral[:, : g[0].numel()], g_s.flatten(1), atol=1e-4)
    plain = [features[int(n)][0] for n in features.train_posed]
    apart = torch.stack([torch.stack([(row - p).abs().mean() for p in plain]).min() for row in f[8:]])
    assert (apart > 1e-3).any(), "some are no body of the data"
    again = whole.batch(index, torch.Generator().manual_seed(4))[0]
    assert not torch.equal(f[8:], again[8:]) and torch.equal(f[:8], again[:8])


def test_limbs_of_a_skin_are_where_its_joints_pull() -> None:
    skin = np.zeros((4, len(JOINTS)), np.float32)
    skin[0, JOINT_INDEX["left_wrist"]] = 1.0
    skin[1, [JOINT_INDEX["left_shoulder"], JOINT_INDEX["spine3"]]] = 0.05, 0.95
    skin[2, JOINT_INDEX["pelvis"]] = 1.0
    skin[3, [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"], JOINT_INDEX["pelvis"]]] = 0.3, 0.3, 0.4
    limbs = limbs_of_skin(skin)
    arm = LIMBS.index("left_arm")
    assert limbs.masks[:, 0].tolist() == [1.0 if n == arm else 0.0 for n in range(len(LIMBS))]
    assert limbs.masks[arm, 1] == pytest.approx(0.5) and not limbs.masks[:, 2].any()
    assert limbs.masks[:, 3].sum() == pytest.approx(1.0)
    assert PARTS[limbs.carriers[arm]] == "chest"
    assert {PARTS[n] for n in np.flatnonzero(limbs.of_part == arm)} == {"left_upper_arm", "left_forearm", "left_hand"}
