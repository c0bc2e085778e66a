"""The light network's estimator with a network whose answer is known: crops, scales, kept features, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.bundles import open_bundle
from bodystream.correspondence import CorrespondenceEstimator, LearnedConfig, LearnedCorrespondence
from bodystream.correspondence.crops import CropWindow
from bodystream.correspondence.features import light_image, rgbd_image, window_image
from bodystream.errors import BundleError, ConfigurationError, InputError
from bodystream.types import Array, CameraIntrinsics, RgbdFrame
from helpers.flow_networks import flow_bundle
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flow_bundle(tmp_path_factory.mktemp("bundles") / "flow")


@pytest.fixture
def estimator(bundle: Path) -> LearnedCorrespondence:
    return LearnedCorrespondence(open_bundle(bundle), LearnedConfig())


def frame(number: int = 0, size: tuple[int, int] = (320, 240), depth_m: float = 2.0) -> RgbdFrame:
    width, height = size
    colour = np.random.default_rng(number).integers(0, 256, (height, width, 3)).astype(np.uint8)
    camera = CameraIntrinsics(260.0, 260.0, width / 2, height / 2, width, height)
    return RgbdFrame(number, number + 1, np.full((height, width), depth_m, np.float32), camera, colour)


def box(u0: int, v0: int, u1: int, v1: int, size: tuple[int, int] = (320, 240)) -> Array:
    mask = np.zeros(size[::-1], bool)
    mask[v0:v1, u0:u1] = True
    return mask


def guess_of(affine: Array, size: tuple[int, int], cell_px: int = 8) -> Array:
    """The flow of a (2, 3) affine map at the middle of each square."""
    u = (np.arange(-(-size[0] // cell_px)) + 0.5) * cell_px - 0.5
    v = ((np.arange(-(-size[1] // cell_px)) + 0.5) * cell_px - 0.5)[:, None]
    return np.stack([a[0] * u + a[1] * v + a[2] for a in affine], axis=2).astype(np.float32)


TURN = np.array([[0.004, -0.06, 9.0], [0.06, 0.004, -11.0]])


@pytest.mark.parametrize(
    ("size", "person"),
    [
        ((320, 240), (120, 100, 170, 190)),  # upright, pixels as they are
        ((320, 240), (100, 90, 190, 140)),  # wide
        ((640, 480), (200, 60, 320, 230)),  # upright, 2 x 2 pixels
        ((640, 480), (60, 300, 240, 400)),  # wide, by the border
        ((1280, 720), (400, 200, 600, 640)),  # 4 x 4
        ((317, 239), (200, 60, 280, 200)),
        ((320, 240), (5, 5, 315, 235)),  # larger than any image of the network: reduced
    ],
)
def test_an_expected_flow_comes_back_at_every_pixel(
    estimator: LearnedCorrespondence, size: tuple[int, int], person: tuple[int, int, int, int]
) -> None:
    assert isinstance(estimator, CorrespondenceEstimator)
    mask = box(*person, size)
    found = estimator.step(
        frame(0, size), frame(1, size), source_mask=mask, target_mask=mask, initial_flow_px=guess_of(TURN, size)
    )
    n = found.cell_px
    assert found.flow_px.shape == (-(-size[1] // n), -(-size[0] // n), 2)
    assert (found.source_t_ns, found.target_t_ns) == (1, 2)
    flow, weight = (a.repeat(n, axis=0).repeat(n, axis=1)[: size[1], : size[0]] for a in (found.flow_px, found.weight))
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    truth = np.stack([a[0] * u + a[1] * v + a[2] for a in TURN], axis=2)
    seen = weight > 0.05
    assert seen.mean() > 0.3 * mask.mean() and not seen[~mask].any()
    # within a square the flow is that of its middle, beyond which it goes on by its gradient
    allowed = 0.09 * (n - 1) / 2 + 0.09
    inner = seen & box(person[0] + 4 * n, person[1] + 4 * n, person[2] - 4 * n, person[3] - 4 * n, size)
    assert np.linalg.norm(flow - truth, axis=2)[inner].max() < allowed


def test_the_windows_of_both_orientations_are_used(estimator: LearnedCorrespondence) -> None:
    for person, size in (((120, 100, 170, 190), (96, 128)), ((100, 90, 190, 140), (128, 96))):
        mask = box(*person)
        estimator.step(frame(), frame(1), source_mask=mask, target_mask=mask)
        assert estimator.image_size == size


def test_weights_are_the_networks_and_none_lands_outside_of_the_target(bundle: Path) -> None:
    estimator = LearnedCorrespondence(open_bundle(bundle), LearnedConfig())
    own, other = box(120, 100, 168, 188), box(120, 100, 144, 188)
    found = estimator.step(frame(), frame(1), source_mask=own, target_mask=other)
    # Beside the border of the masks cells are mixed; inside, both are the subject.
    assert found.weight[104:184, 124:140].min() > 0.95
    assert not found.weight[:, 144:].any() and not found.weight[~own].any()
    shifted = np.full((30, 40, 2), (30, 0), np.float32)
    away = estimator.step(frame(), frame(1), source_mask=own, target_mask=own, initial_flow_px=shifted)
    assert away.weight[104:184, 124:134].min() > 0.95 and not away.weight[:, 140:].any()


def test_matches_that_change_their_depth_or_land_on_none_are_left_out(bundle: Path) -> None:
    mask = box(120, 100, 168, 188)
    config = LearnedConfig(need_target_depth=True, max_depth_change_m=0.5)
    strict, lenient = (LearnedCorrespondence(open_bundle(bundle), c) for c in (config, LearnedConfig()))
    target = frame(1)
    target.depth_m[:, :140], target.depth_m[:, 140:150] = 3.0, 0.0
    found, other = (e.step(frame(), target, source_mask=mask, target_mask=mask) for e in (strict, lenient))
    assert not found.weight[:, :150].any() and found.weight[104:184, 154:164].min() > 0.95
    assert other.weight[104:184, 124:164].min() > 0.95


def test_a_frame_is_encoded_once(estimator: LearnedCorrespondence) -> None:
    mask = box(120, 100, 170, 190)
    frames = [frame(n) for n in range(14)]
    for source, target in zip(frames, frames[1:], strict=False):
        estimator.step(source, target, source_mask=mask, target_mask=mask)
    assert (estimator.encode_count, estimator.again_count, estimator.window_moves) == (14, 1, 1)
    for target in frames[10:13]:  # a keyframe is encoded again once
        estimator.step(frames[3], frames[13], source_mask=mask, target_mask=mask)
        estimator.step(target, frames[13], source_mask=mask, target_mask=mask)
    before = estimator.encode_count
    estimator.step(frames[12], frames[13], source_mask=mask, target_mask=mask)
    assert estimator.encode_count == before
    other = mask.copy()
    other[150:] = False
    estimator.step(frames[12], frames[13], source_mask=other, target_mask=mask)  # the network sees the mask, too
    assert estimator.encode_count == before + 1
    far = np.roll(mask, 100, axis=1)
    estimator.step(frames[12], frames[13], source_mask=far, target_mask=far)  # another window, other features
    assert (estimator.encode_count, estimator.window_moves) == (before + 3, 2)


def test_features_that_are_kept_are_those_of_their_frame(bundle: Path) -> None:
    """A step after others answers as one of a new estimator."""
    used = LearnedCorrespondence(open_bundle(bundle), LearnedConfig())
    masks = [box(120 + 2 * n, 100, 170, 190 - 3 * n) for n in range(5)]
    frames = [frame(n) for n in range(5)]
    for n in range(4):
        masked = {"source_mask": masks[n], "target_mask": masks[n + 1]}
        found = used.step(frames[n], frames[n + 1], **masked)
        alone = LearnedCorrespondence(open_bundle(bundle), LearnedConfig())
        alone._windows = used._windows  # the same window
        np.testing.assert_array_equal(found.weight, alone.step(frames[n], frames[n + 1], **masked).weight)


def test_a_network_of_16_bits_answers_alike(tmp_path: Path, estimator: LearnedCorrespondence) -> None:
    half = LearnedCorrespondence(open_bundle(flow_bundle(tmp_path / "half", dtype="float16")), LearnedConfig())
    mask = box(120, 100, 170, 190)
    given = {"source_mask": mask, "target_mask": mask, "initial_flow_px": guess_of(TURN, (320, 240))}
    whole, found = (e.step(frame(), frame(1), **given) for e in (estimator, half))
    seen = whole.weight > 0.1
    np.testing.assert_allclose(found.flow_px[seen], whole.flow_px[seen], atol=0.02)
    np.testing.assert_allclose(found.weight[seen], whole.weight[seen], atol=5e-3)


@pytest.mark.parametrize("given", ["no guess", "all unknown", "half unknown"])
def test_an_unknown_guess_is_none(estimator: LearnedCorrespondence, given: str) -> None:
    mask, guess = box(120, 100, 170, 190), None
    if given != "no guess":
        guess = np.full((30, 40, 2), np.nan, np.float32)
    if given == "half unknown" and guess is not None:
        guess[:, :18] = (4.0, -2.0)
    found = estimator.step(frame(), frame(1), source_mask=mask, target_mask=mask, initial_flow_px=guess)
    wanted = (4.0, -2.0) if given == "half unknown" else (0.0, 0.0)
    np.testing.assert_allclose(found.flow_px[110:180, 130:160], np.broadcast_to(wanted, (70, 30, 2)), atol=1e-3)


def test_without_a_target_mask_the_subject_is_looked_for_at_its_depth(estimator: LearnedCorrespondence) -> None:
    mask = box(120, 100, 170, 190)
    target = frame(1, depth_m=4.0)
    target.depth_m[100:190, 120:150] = 2.1
    found = estimator.step(frame(), target, source_mask=mask)
    assert found.weight[104:186, 124:144].min() > 0.9 and found.weight[:, 156:].max() == 0
    given = estimator.step(frame(), replace(target, mask=box(150, 100, 170, 190)), source_mask=mask)
    assert given.weight[104:186, 156:166].min() > 0.9 and given.weight[:, :144].max() == 0


def test_passes_begin_where_the_one_before_ended(tmp_path: Path) -> None:
    config = LearnedConfig(passes=3)
    doubling = LearnedCorrespondence(open_bundle(flow_bundle(tmp_path / "flow", scale=2.0)), config)
    mask = box(120, 100, 170, 190)
    guess = np.full((30, 40, 2), 0.5, np.float32)
    found = doubling.step(frame(), frame(1), source_mask=mask, target_mask=mask, initial_flow_px=guess)
    np.testing.assert_allclose(found.flow_px[120:170, 130:160], 4.0, atol=0.05)


def test_a_large_motion_is_begun_from_sparse_features(bundle: Path) -> None:
    """Without a guess the network that answers with it says that nothing moves; features know better."""
    source, rng = frame(), np.random.default_rng(5)
    blobs = cv2.GaussianBlur(rng.normal(0, 400, (240, 320)).astype(np.float32), (0, 0), 2.5)
    grey = np.clip(128 + blobs, 0, 255).astype(np.uint8)
    source = replace(source, colour=np.repeat(grey[..., None], 3, axis=2))
    assert source.colour is not None
    target = replace(frame(1), colour=np.roll(source.colour, (20, 70), axis=(0, 1)))
    mask = box(60, 60, 160, 170)
    found = {}
    for align in (False, True):
        estimator = LearnedCorrespondence(open_bundle(bundle), LearnedConfig(align=align))
        flow = estimator.step(source, target, source_mask=mask)
        found[align] = np.median(flow.flow_px[flow.weight > 0.5], axis=0)
    np.testing.assert_allclose(found[False], 0.0, atol=1e-6)
    np.testing.assert_allclose(found[True], (70.0, 20.0), atol=0.5)


def test_pairs_that_cannot_be_matched_have_no_weight(estimator: LearnedCorrespondence) -> None:
    mask, none = box(120, 100, 170, 190), np.zeros((240, 320), bool)
    unmeasured = replace(frame(), depth_m=np.zeros((240, 320), np.float32))
    for source, target, masks in (
        (frame(), frame(1), {"source_mask": none}),
        (frame(), frame(1), {"source_mask": mask, "target_mask": none}),
        (unmeasured, frame(1), {}),
        (unmeasured, frame(1), {"source_mask": mask}),
        (unmeasured, frame(1), {"source_mask": mask, "target_mask": mask}),
    ):
        found = estimator.step(source, target, **masks)
        assert found.flow_px.shape == (240, 320, 2) and not found.weight.any() and np.isfinite(found.flow_px).all()
    assert estimator.encode_count <= 2


def test_depth_that_is_no_number_counts_as_not_measured(estimator: LearnedCorrespondence) -> None:
    mask = box(120, 100, 170, 190)
    holes = frame()
    holes.depth_m[:, 140:150] = np.nan
    zeros = replace(holes, depth_m=np.nan_to_num(holes.depth_m))
    found, wanted = (estimator.step(f, frame(1), source_mask=mask, target_mask=mask) for f in (holes, zeros))
    np.testing.assert_array_equal(found.weight, wanted.weight)
    assert not found.weight[:, 140:150].any() and found.weight[:, 130].any()


def test_a_network_that_overflows_says_nothing(tmp_path: Path) -> None:
    estimator = LearnedCorrespondence(open_bundle(flow_bundle(tmp_path / "flow", scale=float("inf"))), LearnedConfig())
    mask = box(120, 100, 170, 190)
    found = estimator.step(frame(), frame(1), source_mask=mask, target_mask=mask)  # 0 times infinity
    assert not found.weight.any() and np.isfinite(found.flow_px).all()


def test_a_frame_without_colour_is_searched_in_its_shaded_depth(
    estimator: LearnedCorrespondence, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []

    def look(seen: RgbdFrame, window: CropWindow, shaded: bool) -> Array:
        shown.append(shaded)
        return window_image(seen, window, shaded)

    monkeypatch.setattr("bodystream.correspondence.features.window_image", look)
    mask, grey = box(120, 100, 170, 190), replace(frame(1), colour=None)
    found = estimator.step(frame(), grey, source_mask=mask, target_mask=mask)
    assert shown == [True, True] and found.weight[110:180, 130:160].min() > 0.9
    estimator.step(frame(), frame(2), source_mask=mask, target_mask=mask)
    assert shown == [True, True, False, False]


def test_tiny_frames_have_a_flow(estimator: LearnedCorrespondence) -> None:
    size = (20, 12)
    found = estimator.step(frame(0, size), frame(1, size))
    assert found.flow_px.shape == (12, 20, 2) and found.weight.max() > 0.9


def test_frames_masks_and_guesses_of_another_size_are_refused(estimator: LearnedCorrespondence) -> None:
    with pytest.raises(InputError, match="must have one size, got 320x240 and 64x48"):
        estimator.step(frame(), frame(1, (64, 48)))
    with pytest.raises(InputError, match="source_mask must be bool of shape"):
        estimator.step(frame(), frame(1), source_mask=np.ones((12, 12), bool))
    with pytest.raises(InputError, match="initial_flow_px must have shape"):
        estimator.step(frame(), frame(1), initial_flow_px=np.zeros((7, 7, 2), np.float32))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "pose-sampler"}, r"of the kind 'pose-sampler', not 'flow'"),
        ({"net": "full"}, r"holds the full flow network, the light one is wanted: .*bodystream-export flow"),
        ({"sizes": ((64, 96),), "left_out": "decoder_64x96.onnx"}, "not the graphs encoder_64x96.onnx and decoder"),
        ({"sizes": ((40, 96),)}, r"must have sizes that are multiples of 32, got \[\[40, 96\]\]"),
        ({"sizes": ()}, "must have sizes"),
    ],
)
def test_a_bundle_that_cannot_be_used_is_refused(tmp_path: Path, options: dict, said: str) -> None:
    options = {"sizes": ((64, 96),), **options}
    place = flow_bundle(tmp_path / "flow", **options) if options["sizes"] else _without_sizes(tmp_path)
    with pytest.raises(BundleError, match=said):
        LearnedCorrespondence(open_bundle(place))


def _without_sizes(folder: Path) -> Path:
    place = flow_bundle(folder / "flow", sizes=((64, 96),))
    path = place / "manifest.json"
    path.write_text(path.read_text().replace('"sizes": [[64, 96]]', '"sizes": []'))
    return place


def test_graphs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    place = flow_bundle(tmp_path / "flow", sizes=((64, 96),))
    path = place / "manifest.json"
    bundle = open_bundle(place)
    said = bundle.manifest.graphs["decoder_64x96.onnx"].inputs["initial_flow_px"].shape
    assert said == (1, 2, 12, 8)
    other = flow_bundle(tmp_path / "other", sizes=((96, 64),))
    text = (other / "manifest.json").read_text().replace("96x64", "64x96").replace("[[96, 64]]", "[[64, 96]]")
    for file in other.glob("*.onnx"):
        file.rename(other / file.name.replace("96x64", "64x96"))
    (other / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=r"the input 'image' must be \(1, 5, 96, 64\), got \(1, 5, 64, 96\)"):
        LearnedCorrespondence(open_bundle(other))
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0', 1).replace('0"', '"', 1))
    with pytest.raises(BundleError, match="sha256"):
        open_bundle(place)


@pytest.mark.parametrize(
    "options",
    [
        {"across": 8},
        {"passes": 0},
        {"margin_px": -1},
        {"min_weight": 1.0},
        {"max_depth_change_m": 0.0},
        {"max_cycle_m": 0.0},
    ],
)
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        LearnedConfig(**options)


def test_a_closed_estimator_holds_nothing(estimator: LearnedCorrespondence) -> None:
    estimator.close()
    estimator.close()
    assert not estimator._graphs


def test_the_encoder_sees_what_it_was_trained_on() -> None:
    torch = needs("torch", "pip install 'bodystream[train]'")
    from bodystream_training.flow.light import light_input

    seen, random = frame(3, (96, 64)), np.random.default_rng(0)
    seen.depth_m[:] = random.uniform(1.5, 3.0, seen.depth_m.shape)
    seen.depth_m[random.uniform(size=seen.depth_m.shape) < 0.2] = 0.0
    seen.depth_m[:8] = np.nan
    mask = random.uniform(size=seen.depth_m.shape) < 0.7
    out = np.empty((5, 64, 96), np.float32)
    assert seen.colour is not None
    for chosen in (mask, np.zeros_like(mask)):
        light_image(seen.colour, chosen, seen.depth_m, out)
        wanted = light_input(
            torch.from_numpy(seen.colour).permute(2, 0, 1)[None] / 255,
            torch.from_numpy(seen.depth_m)[None, None],
            torch.from_numpy(chosen)[None, None].float(),
        )
        np.testing.assert_allclose(out, wanted[0].numpy(), atol=2e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_what_moves_far_is_followed_by_the_window_of_the_target(bundle: Path, masked: bool) -> None:
    size = (640, 480)
    far = guess_of(np.array([[0.0, 0.0, 301.0], [0.03, 0.0, -20.0]]), size)
    source, target = frame(0, size), frame(1, size)
    mask = box(60, 200, 160, 330, size)
    landing = {"target_mask": box(350, 170, 480, 330, size)} if masked else {}
    found = {}
    for follow in (False, True):
        config = LearnedConfig(across=640, follow=follow)
        estimator = LearnedCorrespondence(open_bundle(bundle), config)
        for _ in range(2):  # what is kept of the first pair serves for the second
            found[follow] = estimator.step(source, target, source_mask=mask, initial_flow_px=far, **landing)
        assert estimator.encode_count == 2
    assert found[True].cell_px < found[False].cell_px
    n = found[True].cell_px
    flow, weight = (
        a.repeat(n, axis=0).repeat(n, axis=1)[:480, :640] for a in (found[True].flow_px, found[True].weight)
    )
    middle = (slice(212, 318), slice(72, 148))
    # the network believes what lies in both masks at one place of the two images: so they were laid over each other
    assert (weight[middle] > 0.9).all() and not weight[~mask].any()
    truth = far.repeat(8, axis=0).repeat(8, axis=1)[:480, :640]
    assert np.abs(flow - truth)[middle].max() < 0.7


@pytest.mark.parametrize(("scale", "kept"), [(1.0, True), (0.5, False)])
def test_a_keyframe_is_searched_both_ways_and_a_frame_from_its_predecessor_is_not(
    tmp_path: Path, scale: float, kept: bool
) -> None:
    """With half of what is expected as its answer, the network leads 80 pixels there and 40 back: 31 cm are missing."""
    estimator = LearnedCorrespondence(open_bundle(flow_bundle(tmp_path / "flow", scale=scale)), LearnedConfig())
    key, before, now = (frame(number) for number in range(3))
    person = box(60, 60, 110, 150) | box(140, 60, 190, 150) | box(220, 60, 270, 150)
    shift = guess_of(np.array([[0.0, 0.0, 160.0], [0.0, 0.0, 0.0]]), (320, 240))

    def believed(source: RgbdFrame, target: RgbdFrame) -> Array:
        found = estimator.step(source, target, source_mask=person, target_mask=person, initial_flow_px=shift)
        n = found.cell_px
        return found.weight.repeat(n, axis=0).repeat(n, axis=1)[72:138, 72:94] > 0.9

    estimator.step(key, before, source_mask=person, target_mask=person)
    assert believed(before, now).all()
    encoded = estimator.encode_count
    from_key = believed(key, now)
    assert from_key.all() if kept else not from_key.any()
    assert estimator.encode_count == encoded, "the way back needs no frame encoded again"


@pytest.mark.parametrize(("size", "person"), [((320, 240), (120, 100, 170, 190)), ((1280, 720), (300, 200, 520, 400))])
def test_the_full_network_sees_colours_and_points_of_its_crop(
    tmp_path: Path, size: tuple[int, int], person: tuple[int, int, int, int]
) -> None:
    """The network answers with the points: they are those of the frame's own camera, whatever the crop."""
    bundle = open_bundle(flow_bundle(tmp_path / "full", net="full", sizes=((128, 128), (192, 128))))
    # such an answer leads nowhere and back
    estimator = LearnedCorrespondence(bundle, replace(LearnedConfig.full(), both_ways=False), net="full")
    mask = box(*person, size)
    source, target = frame(0, size), frame(1, size)
    found = estimator.step(source, target, source_mask=mask, target_mask=mask)
    n, camera = found.cell_px, source.intrinsics
    assert estimator.label == "full 1, full network (cpu)" and n == (1 if size[0] == 320 else 2)
    rows, columns = np.nonzero(found.weight > 0.9)
    assert len(rows) > 0.3 * mask.sum() / n**2
    middle = np.stack([columns, rows], axis=1) * n + 0.5 * (n - 1)
    points = (middle - (camera.cx, camera.cy)) / (camera.fx, camera.fy) * 2.0
    np.testing.assert_allclose(found.flow_px[rows, columns], 10 * n * points, atol=0.2)
    assert not found.weight[~mask[::n, ::n][: found.weight.shape[0], : found.weight.shape[1]]].any()
    other = estimator.step(target, frame(2, size), source_mask=mask, target_mask=mask)
    assert estimator.encode_count == 3 and other.weight.any()


def test_the_full_networks_weights_see_what_they_were_trained_on() -> None:
    torch = needs("torch", "pip install 'bodystream[train]'")
    from bodystream_training.flow.model import rgbd_input

    seen = frame(3, (96, 64))
    seen.depth_m[:, 40:50], seen.depth_m[:3] = 0.0, np.nan
    out = np.empty((6, 64, 96), np.float32)
    assert seen.colour is not None
    c = seen.intrinsics
    rgbd_image(seen.colour, seen.depth_m, CropWindow(0, 0, (96, 64), 1), c, out)
    wanted = rgbd_input(
        torch.from_numpy(seen.colour).permute(2, 0, 1)[None] / 255,
        torch.from_numpy(seen.depth_m)[None, None],
        torch.tensor([[c.fx, c.fy, c.cx, c.cy]]),
    )
    np.testing.assert_allclose(out, wanted[0].numpy(), atol=2e-6)


def test_a_light_bundle_is_not_taken_for_a_full_one(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds the light flow network, the full one is wanted: .*--net full"):
        LearnedCorrespondence(open_bundle(bundle), net="full")
    place = flow_bundle(tmp_path / "full", net="full", sizes=((96, 128),))
    with pytest.raises(BundleError, match="multiples of 64"):
        LearnedCorrespondence(open_bundle(place), net="full")
