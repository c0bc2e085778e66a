"""bodystream: live body capture and avatars from sparse sensors."""

__all__ = ["__version__"]

__version__ = "0.1.0"
