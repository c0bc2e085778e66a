"""Takes of one person in one outfit: posed surfaces and the transforms of the bones, of which avatars are learned."""
