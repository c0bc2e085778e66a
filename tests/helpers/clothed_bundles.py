"""Bundles of clothed avatars whose networks are small and drawn, on a body of balls."""

from __future__ import annotations

from pathlib import Path

import torch

from bodystream.bundles import Bundle
from bodystream.types import Mesh
from bodystream_export.avatar.convert import Fineness, Prepared, prepare_surface, write_avatar
from bodystream_export.avatar.known_poses import write_known_poses
from bodystream_training.avatar.model import Ins, InsConfig
from helpers.ball_people import ball_take, ball_truth

__all__ = ["COARSE", "FINE", "drawn_network", "prepared_balls", "write_balls"]

COARSE, FINE = Fineness(0.08, 0.1, 0.1, 150, 24), Fineness(0.016, 0.04, 0.04, 900, 24)


def drawn_network(seed: int = 0, spread: float = 0.003) -> Ins:
    """One whose PINs move points by a few millimetres, with other `spread` as much more; weights vary smoothly."""
    torch.manual_seed(seed)
    model = Ins(InsConfig(bone_hidden=8, map_hidden=6, weight_hidden=16, weight_layers=2, occupancy_hidden=8)).eval()
    assert model.weights is not None
    model.weights.sharpness = 5.0
    for pin in (model.deformed, model.canonical):
        assert pin is not None
        for layer in pin.layers:
            for chain in (layer.translation, layer.rotation):
                if chain is not None:
                    torch.nn.init.normal_(chain[-1].weight, std=spread)
    return model


def prepared_balls(spread: float = 0.003) -> Prepared:
    """Without extraction: the surface is that of the balls."""
    take = ball_take(4, 3)
    assert take.faces is not None
    surface = Mesh(ball_truth().canonical_vertices, take.faces, colours=take.colours)
    return prepare_surface(drawn_network(spread=spread), take, surface)


def write_balls(folder: Path, prepared: Prepared, fineness: Fineness) -> Bundle:
    """A bundle of them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_known_poses(ball_take(40, 3), folder)
    return write_avatar(prepared, fineness, folder, name=folder.name, version=1, provenance={})
