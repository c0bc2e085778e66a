"""Generated pairs against computations of their own: rays cast by brute force, points projected, images drawn back."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch

from bodystream.avatar.rig import skin
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream_training.flow.data import SyntheticPairs, open_pairs
from bodystream_training.synthetic.compose import Composer
from bodystream_training.synthetic.poses import recorded_motions
from bodystream_training.synthetic.renderer import PairRenderer
from bodystream_training.synthetic.scenes import Light
from bodystream_training.synthetic.wardrobe import Wardrobe
from helpers.headset_takes import write_bvh
from helpers.motions import wobble

SIZE = (96, 128)


@pytest.fixture(scope="module")
def wardrobe():
    return Wardrobe(0, people=3)


@pytest.fixture(scope="module")
def composer(wardrobe):
    return Composer(SIZE, wardrobe)


@pytest.fixture(scope="module")
def renderer(wardrobe):
    return PairRenderer(SIZE, wardrobe.rig, wardrobe.face_regions, 0, select_device("cpu"))


def clean(scene):
    """The scene without noise, lamp, lens and smear: the colour of a point is its own in both images."""
    light = Light(scene.lights[0].to_light, np.zeros(3), np.ones(3))
    plain = {"noise": None, "found_by_depth": False, "blur_px": 1e-3, "exposure": 0.0, "jpeg_quality": None}
    return dataclasses.replace(scene, lights=(light, light), **plain)


def pixels(sample):
    width, height = sample.size
    return np.mgrid[:height, :width][::-1].transpose(1, 2, 0).astype(np.float64)


def points_m(sample):
    """(H, W, 3) of the source, from its depth and its rays."""
    c = sample.intrinsics
    uv = pixels(sample)
    rays = np.stack([(uv[..., 0] - c.cx) / c.fx, (uv[..., 1] - c.cy) / c.fy, np.ones(uv.shape[:2])], -1)
    return rays * sample.source_depth_m[..., None]


def triangles(scene, wardrobe, moment):
    """(F, 3, 3) float64 corners of everything in the scene, the body posed by the slow reference."""
    parts = []
    if scene.body is not None:
        body = next(p.skin for p in wardrobe.people if p.skin.mesh.vertices is scene.body.rest_m)
        parts.append(skin(body, scene.body.bones[moment])[body.mesh.faces])
    for surface in scene.surfaces:
        points = (surface.source_m, surface.target_m)[moment].astype(np.float64)
        parts.append(points[surface.faces])
    return np.concatenate(parts)


def hits(corners, ray):
    """Of a ray from the origin: (F,) depth factor at which it meets each triangle from its front, inf where it does
    not; and (F, 2) barycentrics of the second and third corner (Cramer's rule)."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(ab, ac)
    with np.errstate(divide="ignore", invalid="ignore"):
        facing = normal @ ray
        t = (normal * a).sum(axis=1) / facing
        p = t[:, None] * ray - a
        second = (np.cross(p, ac) * normal).sum(axis=1) / (normal * normal).sum(axis=1)
        third = (np.cross(ab, p) * normal).sum(axis=1) / (normal * normal).sum(axis=1)
        met = (facing < 0) & (t > 0) & (second >= 0) & (third >= 0) & (second + third <= 1)
    return np.where(met, t, np.inf), np.stack([second, third], -1)


def test_flow_and_visibility_against_rays_cast_at_every_triangle(composer, renderer, wardrobe):
    flow_off, same_visible, hidden, bodies = [], [], 0, 0
    for number in (0, 1, 2, 3, 5, 9):
        scene = clean(composer.scene(np.random.default_rng(number)))
        if scene.body is not None:
            bodies += 1
            bare = np.zeros_like(scene.body.looseness_m)
            scene = dataclasses.replace(scene, body=dataclasses.replace(scene.body, looseness_m=bare))
        sample = renderer(scene)
        source, target = triangles(scene, wardrobe, 0), triangles(scene, wardrobe, 1)
        c = scene.intrinsics
        chosen = np.random.default_rng(number).permutation(np.argwhere(sample.mask))[:60]
        for v, u in chosen:
            depth, at = hits(source, np.array([(u - c.cx) / c.fx, (v - c.cy) / c.fy, 1.0]))
            face = int(depth.argmin())
            if not np.isfinite(depth[face]):
                continue  # on an edge, by rounding
            weights = np.array([1.0 - at[face].sum(), *at[face]])
            point, moved = weights @ source[face], weights @ target[face]
            flow_off.append(
                np.abs(moved[:2] / moved[2] * (c.fx, c.fy) + (c.cx, c.cy) - (u, v) - sample.flow_px[v, u]).max()
            )
            flow_off.append(np.abs(moved - point - sample.scene_flow_m[v, u]).max())
            end = np.array([u, v]) + sample.flow_px[v, u]
            normal = np.cross(target[face][1] - target[face][0], target[face][2] - target[face][0])
            nearest = hits(target, moved / moved[2])[0].min()
            inside = (end > -0.5).all() and (end < np.array(SIZE) - 0.5).all()
            seen = inside and normal @ moved < 0 and nearest > moved[2] - 0.005
            hidden += not seen
            same_visible.append(bool(seen) == bool(sample.visible[v, u]))
    assert bodies >= 2 and len(same_visible) > 300 and hidden > 20
    # a pixel on the edge of two faces may be given to either
    assert np.mean(np.array(flow_off) < 2e-3) > 0.98
    # what is seen is told at whole pixels of the target: outlines may differ
    assert np.mean(same_visible) > 0.97


def test_flow_is_the_projection_of_the_moved_point(composer, renderer):
    """The point that depth gives, moved by the scene flow, projects to where the flow leads."""
    for number in range(12):
        sample = renderer(clean(composer.scene(np.random.default_rng(number))))
        c = sample.intrinsics
        moved = points_m(sample) + sample.scene_flow_m
        known = np.isfinite(sample.flow_px).all(axis=2)
        assert known[sample.mask].mean() > 0.95
        with np.errstate(invalid="ignore", divide="ignore"):
            ends = moved[..., :2] / moved[..., 2:] * (c.fx, c.fy) + (c.cx, c.cy)
        error = np.abs(ends - pixels(sample) - sample.flow_px)[known].max(axis=1)
        # clean depth is in whole millimetres, which moves fast points a little
        assert np.median(error) < 0.02 and np.percentile(error, 99) < 0.5, number


def test_visible_points_are_where_the_target_shows_them(composer, renderer):
    """Of visible points, the target's depth where they land is their own; of hidden ones it is nearer."""
    seen, hidden = [], []
    for number in range(12):
        sample = renderer(clean(composer.scene(np.random.default_rng(number))))
        ends = np.round(pixels(sample) + np.nan_to_num(sample.flow_px)).astype(int)
        inside = (ends >= 0).all(axis=2) & (ends < SIZE).all(axis=2) & np.isfinite(sample.flow_px).all(axis=2)
        assert not sample.visible[~inside].any()
        there = sample.target_depth_m[ends[inside][:, 1], ends[inside][:, 0]]
        behind = (points_m(sample) + sample.scene_flow_m)[..., 2][inside] - there
        seen.append(behind[(there > 0) & sample.visible[inside]])
        hidden.append(behind[(there > 0) & ~sample.visible[inside]])
    seen, hidden = np.concatenate(seen), np.concatenate(hidden)
    # to the nearest pixel, so steep surfaces differ by a little
    assert np.mean(np.abs(seen) < 0.02) > 0.97
    # what turned away at an outline is hidden by its own surface, as near as one likes
    assert len(hidden) > 1000 and np.mean(hidden > 0.004) > 0.94


def test_target_drawn_back_by_the_flow_is_the_source(composer, renderer):
    errors = []
    for number in range(12):
        sample = renderer(clean(composer.scene(np.random.default_rng(number))))
        sure = cv2.erode((sample.visible & sample.mask).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        if sure.sum() < 200:
            continue
        ends = (pixels(sample) + sample.flow_px).astype(np.float32)
        back = cv2.remap(sample.target_rgb, ends[..., 0], ends[..., 1], cv2.INTER_LINEAR)
        other = cv2.remap(sample.target_rgb, *np.moveaxis(pixels(sample).astype(np.float32), -1, 0), cv2.INTER_LINEAR)
        error = np.abs(back.astype(float) - sample.source_rgb)[sure].mean()
        unmoved = np.abs(other.astype(float) - sample.source_rgb)[sure].mean()
        # fine patterns are sampled anew in each image
        assert error < max(5.0, 0.5 * unmoved), number
        errors.append((error, unmoved))
    error, unmoved = np.mean(errors, axis=0)
    assert len(errors) >= 8 and error < 0.2 * unmoved


def test_masks_that_depth_finds_are_ragged_and_say_nothing_of_what_is_not_the_subject(composer, renderer):
    added = lost = 0
    for number in range(12):
        scene = composer.scene(np.random.default_rng(number))
        if scene.noise is None:
            continue
        exact = renderer(dataclasses.replace(scene, found_by_depth=False))
        found = renderer(dataclasses.replace(scene, found_by_depth=True))
        assert np.array_equal(found.source_depth_m, exact.source_depth_m)
        assert (found.source_depth_m[found.mask] > 0).all() and (found.target_depth_m[found.target_mask] > 0).all()
        more = found.mask & ~exact.mask
        assert np.isnan(found.flow_px[more]).all() and np.isnan(found.scene_flow_m[more]).all()
        assert not found.visible[more].any()
        assert np.array_equal(found.flow_px[~more], exact.flow_px[~more], equal_nan=True)
        around = cv2.dilate(exact.mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert not (more & ~around).any()
        added += more.sum()
        lost += (exact.mask & ~found.mask).sum()
    assert added > 100 and lost > 100


def test_same_seed_same_bits_whatever_came_before():
    first, again = SyntheticPairs(SIZE, 10, 3), SyntheticPairs(SIZE, 10, 3)
    generator = torch.Generator()
    again.sample(5, generator)
    one, two, other = first.sample(2, generator), again.sample(2, generator), first.sample(3, generator)
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        assert a == b if field.name == "intrinsics" else a.tobytes() == b.tobytes(), field.name
    assert one.source_rgb.tobytes() != other.source_rgb.tobytes()
    assert first.digest == again.digest != SyntheticPairs(SIZE, 10, 4).digest


def test_a_scene_that_does_not_show_its_subject_is_drawn_again(monkeypatch):
    pairs = SyntheticPairs(SIZE, 10, 3)
    compose, drawn = pairs._composer.scene, []

    def scene(rng):
        found = compose(rng)
        if not drawn:
            found = dataclasses.replace(
                found, materials=[dataclasses.replace(m, is_subject=False) for m in found.materials]
            )
        drawn.append(found)
        return found

    monkeypatch.setattr(pairs._composer, "scene", scene)
    assert pairs.sample(2, torch.Generator()).mask.mean() >= 0.01
    assert len(drawn) == 2


def test_threads_draw_the_same_pairs():
    made = SyntheticPairs(SIZE, 9, 5)
    generator = torch.Generator()
    with ThreadPoolExecutor(3) as pool:
        drawn = list(pool.map(lambda number: made.sample(number, generator), range(9)))
    for number, sample in enumerate(drawn):
        assert sample.flow_px.tobytes() == made.sample(number, generator).flow_px.tobytes()


def test_half_of_the_people_move_by_recorded_motions(tmp_path, wardrobe):
    spec = f"bvh:{write_bvh(tmp_path / 'wobble.bvh', wobble(0, frames=90))}"
    pairs = SyntheticPairs(SIZE, 40, 3, motions=spec)
    plain = SyntheticPairs(SIZE, 40, 3)
    generator = torch.Generator()
    differ = sum(
        pairs.sample(k, generator).flow_px.tobytes() != plain.sample(k, generator).flow_px.tobytes() for k in range(40)
    )
    assert 5 < differ < 40  # things and flying shapes have no motions to take
    assert open_pairs("synthetic", SIZE, count=40, seed=3, motions=spec).digest == pairs.digest != plain.digest


def test_a_recorded_motion_is_followed(wardrobe):
    """Of a person of a recorded motion, the elbow is bent as it is somewhere in the motion."""
    motions = recorded_motions(wardrobe.people, [wobble(0, frames=90)])
    composer = Composer(SIZE, wardrobe, motions)
    number, motion = motions[0]
    elbow, shoulder = JOINT_INDEX["left_elbow"], JOINT_INDEX["left_shoulder"]
    known = motion.transforms(np.linspace(0.0, 4.0, 800))  # more than once through the clip and its end
    bends = (np.linalg.inv(known[:, shoulder]) @ known[:, elbow])[:, :3, :3]
    found = 0
    for seed in range(30):
        body = composer.scene(np.random.default_rng(seed)).body
        if body is None or body.rest_m is not wardrobe.people[number].skin.mesh.vertices:
            continue
        bend = [(np.linalg.inv(b[shoulder]) @ b[elbow])[:3, :3] for b in body.bones]
        found += min(np.abs(bends - bend[0]).max(axis=(1, 2))) < 0.02
    assert found >= 3


def test_motions_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "no.bvh").write_text("HIERARCHY")
    for spec in (f"bvh:{tmp_path}", f"bvh:{tmp_path / 'absent.bvh'}"):
        with pytest.raises(InputError):
            SyntheticPairs(SIZE, 10, 3, motions=spec)


def test_open_pairs_by_name():
    assert len(open_pairs("synthetic", SIZE, count=7)) == 7
