"""Clothed avatars: takes of a dressed person, and what is learned from them."""
