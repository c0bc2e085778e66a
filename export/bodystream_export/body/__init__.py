"""The body decoder's bundle."""
