"""The body of one topology: how its meshes are described by deformation (ACAP), and back; and a learned embedding."""

from bodystream.body.acap import AcapSpace
from bodystream.body.alignment import aligned
from bodystream.body.checks import check_like, check_surface, check_topology, check_upright, largest_piece
from bodystream.body.decoder import BodyCodes, BodyDecoder, BodyEncoder
from bodystream.body.matching import Landmarks
from bodystream.body.parts import PARTS, BodyParts
from bodystream.body.person import FittedPose, Person, PosingStage
from bodystream.body.posing import JointState
from bodystream.body.registration import STAGES, Registration, RegistrationStage, register
from bodystream.body.scaling import FeatureScale
from bodystream.body.skin import BodySkin
from bodystream.body.target import Target, target_of_mesh, target_of_points

__all__ = [
    "PARTS",
    "STAGES",
    "AcapSpace",
    "BodyCodes",
    "BodyDecoder",
    "BodyEncoder",
    "BodyParts",
    "BodySkin",
    "FeatureScale",
    "FittedPose",
    "JointState",
    "Landmarks",
    "Person",
    "PosingStage",
    "Registration",
    "RegistrationStage",
    "Target",
    "aligned",
    "check_like",
    "check_surface",
    "check_topology",
    "check_upright",
    "largest_piece",
    "register",
    "target_of_mesh",
    "target_of_points",
]
