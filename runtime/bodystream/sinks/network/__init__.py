"""Bodies and surfaces between machines, over Eclipse Zenoh, in the messages of docs/stream-format.md."""

from bodystream.sinks.network.publisher import NetworkPublisher
from bodystream.sinks.network.receiver import NetworkReceiver, ReceivedMotion
from bodystream.sinks.network.session import FoundBody, NetworkConfig, list_bodies, load_zenoh, open_network

__all__ = [
    "FoundBody",
    "NetworkConfig",
    "NetworkPublisher",
    "NetworkReceiver",
    "ReceivedMotion",
    "list_bodies",
    "load_zenoh",
    "open_network",
]
