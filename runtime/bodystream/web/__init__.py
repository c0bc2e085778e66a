"""The one server: pages, websockets, who may talk to it and how a device gets in; clocks of browsers."""

__all__: list[str] = []
