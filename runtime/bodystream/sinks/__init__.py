"""What takes results: files, reports and, in `bodystream.sinks.viewer`, a page in the browser.

A session gives each sink a thread of its own, so that one that is slow or broken never stalls it: see `sinks.base`.
"""

from bodystream.sinks.animated_gltf import GltfSegment, Placing, write_animated_gltf
from bodystream.sinks.animation import Animation, AnimationRecorder
from bodystream.sinks.base import Occasion, PreparingSink, Sink, SinkBase
from bodystream.sinks.bvh import BvhRecorder, BvhSummary
from bodystream.sinks.gltf import GltfSummary
from bodystream.sinks.ply import write_ply
from bodystream.sinks.reports.capture import CaptureReport, ReportBuilder, read_report, write_report
from bodystream.sinks.reports.drive import DriveReport, DriveReportBuilder, read_drive_report, write_drive_report
from bodystream.sinks.reports.figures import SourceSection
from bodystream.sinks.reports.machine import MachineSection, describe_machine
from bodystream.sinks.worker import SinkWorker

__all__ = [
    "Animation",
    "AnimationRecorder",
    "BvhRecorder",
    "BvhSummary",
    "CaptureReport",
    "DriveReport",
    "DriveReportBuilder",
    "GltfSegment",
    "GltfSummary",
    "MachineSection",
    "Occasion",
    "PreparingSink",
    "ReportBuilder",
    "Sink",
    "SinkBase",
    "SinkWorker",
    "SourceSection",
    "Placing",
    "describe_machine",
    "read_drive_report",
    "read_report",
    "write_animated_gltf",
    "write_drive_report",
    "write_ply",
    "write_report",
]
