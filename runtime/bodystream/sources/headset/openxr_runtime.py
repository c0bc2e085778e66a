"""Finding the OpenXR runtime of this computer, and saying what is amiss where that does not work."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from bodystream.errors import MissingDependencyError, SourceError
from bodystream.sources.headset.openxr_abi import CLOCK_EXTENSION
from bodystream.sources.headset.openxr_poses import ControllerPose
from bodystream.sources.headset.openxr_sdk import SdkConnection, describe, describe_error

__all__ = ["open_connection", "require_xr"]

_PURPOSE = "to read a headset by OpenXR"
_RUNTIME_REMEDY = (
    "Install one and make it the active one: SteamVR (Settings > OpenXR > Set SteamVR as OpenXR runtime), Monado "
    "(`apt-get install monado-service libopenxr1-monado`) or WiVRn; or name its manifest in XR_RUNTIME_JSON"
)


def require_xr() -> Any:
    """The module `xr` of pyopenxr, which is imported late: it brings PyOpenGL and glfw with it.

    Raises:
        MissingDependencyError: it, or the OpenGL library that it loads, is not installed.
    """
    try:
        import xr
    except ModuleNotFoundError as error:
        missing = "pyopenxr" if error.name in (None, "xr") else f"{error.name} (a part of pyopenxr)"
        raise MissingDependencyError(missing, _PURPOSE, "Run: pip install 'bodystream[openxr]'") from error
    except (ImportError, OSError, AttributeError) as error:
        # PyOpenGL looks for the system's library when it is imported, and says so in one of these three ways.
        remedy = f"pyopenxr says: {error}. On Debian and Ubuntu: sudo apt-get install libgl1"
        raise MissingDependencyError("the OpenGL library", _PURPOSE, remedy) from error
    return xr


def open_connection(application_name: str, *, controller_pose: ControllerPose = "grip") -> SdkConnection:
    """Connect to the active OpenXR runtime and make a session without graphics.

    Args:
        application_name: shown by the runtime; at most 127 bytes.
        controller_pose: `palm` also asks for the palm pose of controllers.

    Raises:
        MissingDependencyError: pyopenxr or any runtime is not installed.
        HeadsetAbsentError: no headset is connected.
        SourceError: the runtime does not start, or cannot do without graphics.
    """
    xr = require_xr()
    offered = _offered_extensions(xr)
    wanted = [xr.MND_HEADLESS_EXTENSION_NAME]
    if xr.MND_HEADLESS_EXTENSION_NAME not in offered:
        raise _not_headless(_runtime_name(xr, application_name))
    if CLOCK_EXTENSION not in offered:
        raise SourceError(
            f"the OpenXR runtime {_runtime_name(xr, application_name)} does not offer {CLOCK_EXTENSION}, without which "
            "its poses have no time that this computer knows: update it, or use SteamVR or Monado"
        )
    wanted.append(CLOCK_EXTENSION)
    optional = ("XR_EXT_hand_tracking", "XR_FB_display_refresh_rate", "XR_EXT_local_floor", "XR_EXT_palm_pose")
    wanted += [name for name in optional if name in offered]
    instance, is_1_1 = _create_instance(xr, application_name, wanted)
    connection = None
    try:
        connection = SdkConnection(xr, instance, frozenset(wanted), is_1_1, controller_pose == "palm")
        return connection
    finally:
        if connection is None:
            with contextlib.suppress(xr.ResultException):  # the error that brought us here is the one to show
                xr.destroy_instance(instance)


def _offered_extensions(xr: Any) -> frozenset[str]:
    named = os.environ.get("XR_RUNTIME_JSON")
    if named and not os.path.isfile(named):
        raise SourceError(
            f"XR_RUNTIME_JSON names {named}, which is not a file: name the manifest of an OpenXR runtime, or unset it "
            "to use the system's active one"
        )
    try:
        properties = xr.enumerate_instance_extension_properties()
    except xr.RuntimeUnavailableError as error:
        if named:
            raise SourceError(
                f"the OpenXR runtime of {named} (XR_RUNTIME_JSON) cannot be loaded; the loader's messages above say "
                "why: check its library_path and that it is for this kind of computer"
            ) from error
        raise MissingDependencyError("an OpenXR runtime", _PURPOSE, _RUNTIME_REMEDY) from error
    except xr.ResultException as error:
        raise SourceError(
            f"the OpenXR runtime does not answer: {describe_error(error)}. Start it, or restart it"
        ) from error
    return frozenset(p.extension_name.decode(errors="replace") for p in properties)


def _create_instance(xr: Any, application_name: str, extensions: list[str]) -> tuple[Any, bool]:
    """An instance of OpenXR 1.1, or of 1.0 where the runtime is older, and whether it is the former."""
    for version in (xr.XR_API_VERSION_1_1, xr.XR_API_VERSION_1_0):
        create_info = xr.InstanceCreateInfo(
            application_info=xr.ApplicationInfo(
                application_name=application_name, application_version=1, engine_name="bodystream", api_version=version
            ),
            enabled_extension_names=extensions,
        )
        try:
            return xr.create_instance(create_info), version is xr.XR_API_VERSION_1_1
        except xr.ApiVersionUnsupportedError:
            continue
        except xr.ResultException as error:
            raise SourceError(
                f"the OpenXR runtime does not start: {describe_error(error)}. Start its service first: SteamVR, "
                "`monado-service` for Monado, the WiVRn server"
            ) from error
    raise SourceError("the OpenXR runtime supports neither OpenXR 1.1 nor 1.0: update it")


def _runtime_name(xr: Any, application_name: str) -> str:
    """For messages: what the runtime is called, asked of an instance without extensions."""
    try:
        instance, _ = _create_instance(xr, application_name, [])
    except SourceError:
        return os.environ.get("XR_RUNTIME_JSON", "that is active")
    try:
        return describe(xr, instance)
    finally:
        with contextlib.suppress(xr.ResultException):  # the name is all that was wanted
            xr.destroy_instance(instance)


def _not_headless(runtime: str) -> SourceError:
    return SourceError(
        f"the OpenXR runtime {runtime} does not offer XR_MND_headless, so poses cannot be read without drawing to the "
        "headset: use SteamVR (with Quest Link, too: set SteamVR as the OpenXR runtime), Monado or WiVRn; "
        "or connect the headset's browser with --headset webxr"
    )
