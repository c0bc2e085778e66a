"""Bodies of an embedding fitted to what was measured: vertices, scans, landmarks (DHNN, Jiang et al., 2020)."""

from bodystream.body.fitting.depth import DepthView, depth_view
from bodystream.body.fitting.depth_sequence import DepthClip, DepthFrame, fit_depth_clips, fit_depth_sequence
from bodystream.body.fitting.joints2d import PictureFit, fit_keypoints
from bodystream.body.fitting.landmarks import KnownPlaces, landmarks_of
from bodystream.body.fitting.marker_places import MarkedLabels, MarkerPlaces, labels_of_map, usual_labels
from bodystream.body.fitting.markers import MarkerFit, MarkerFrame
from bodystream.body.fitting.placed import PlacedBody, Placement
from bodystream.body.fitting.rates import PlaceRates, place_rates
from bodystream.body.fitting.result import FittedBody
from bodystream.body.fitting.scan import ScanPoints, scan_points
from bodystream.body.fitting.sequence import FollowedFrame, FrameLoss, PoseFollower, Steadiness, shared_shape
from bodystream.body.fitting.start import Start, StartPoses, neutral_start
from bodystream.body.fitting.surface import fit_surface
from bodystream.body.fitting.vertices import fit_vertices

__all__ = [
    "DepthClip",
    "DepthFrame",
    "DepthView",
    "FittedBody",
    "FollowedFrame",
    "FrameLoss",
    "KnownPlaces",
    "MarkedLabels",
    "MarkerFit",
    "MarkerFrame",
    "MarkerPlaces",
    "PictureFit",
    "PlaceRates",
    "PlacedBody",
    "Placement",
    "PoseFollower",
    "ScanPoints",
    "Start",
    "StartPoses",
    "Steadiness",
    "depth_view",
    "fit_depth_clips",
    "fit_depth_sequence",
    "fit_keypoints",
    "fit_surface",
    "fit_vertices",
    "labels_of_map",
    "landmarks_of",
    "neutral_start",
    "place_rates",
    "scan_points",
    "shared_shape",
    "usual_labels",
]
