"""Bundles of clothed avatars whose networks are small and drawn, on a body of balls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bodystream.bundles import Bundle
from bodystream_export.avatar.convert import Fineness, Prepared, skeleton_of, write_avatar
from bodystream_export.avatar.known_poses import write_known_poses
from bodystream_export.avatar.prepare import heading_bones, ways_through
from bodystream_training.avatar.model import Ins, InsConfig, skin
from helpers.ball_people import ball_take, ball_truth

__all__ = ["COARSE", "FINE", "drawn_network", "prepared_balls", "write_balls"]

COARSE, FINE = Fineness(0.04, 0.05, 0.05, 24), Fineness(0.01, 0.02, 0.025, 24)


def drawn_network(seed: int = 0) -> Ins:
    """One whose PINs move points by a few millimetres, and whose weights vary smoothly."""
    torch.manual_seed(seed)
    model = Ins(InsConfig(bone_hidden=8, map_hidden=6, weight_hidden=16, weight_layers=2, occupancy_hidden=8)).eval()
    assert model.weights is not None
    model.weights.sharpness = 5.0
    for pin in (model.deformed, model.canonical):
        assert pin is not None
        for layer in pin.layers:
            for chain in (layer.translation, layer.rotation):
                if chain is not None:
                    torch.nn.init.normal_(chain[-1].weight, std=0.003)
    return model


@torch.no_grad()
def prepared_balls() -> Prepared:
    """Without extraction: the surface is that of the balls."""
    model, take = drawn_network(), ball_take(4, 3)
    assert model.canonical is not None and model.deformed is not None and model.weights is not None
    vertices = ball_truth().canonical_vertices
    bones, held = (heading_bones(list(take.split(name))) for name in ("train", "test"))
    ways = ways_through(model, model.canonical, [torch.from_numpy(vertices)] * len(bones), bones)
    skinned = [
        skin(model.weights(torch.from_numpy(end)), torch.from_numpy(end), pose)
        for end, pose in zip(ways.ends, bones, strict=True)
    ]
    longest = ways_through(model, model.deformed, skinned, bones).longest_m
    offsets, hands = skeleton_of(take.rest_joints_m.astype(np.float64))
    assert take.faces is not None
    return Prepared(model, bones, held, vertices, take.faces, take.colours, ways, longest, offsets, hands)


def write_balls(folder: Path, prepared: Prepared, fineness: Fineness) -> Bundle:
    """A bundle of them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_known_poses(ball_take(40, 3), folder)
    return write_avatar(prepared, fineness, folder, name=folder.name, version=1, provenance={})
