"""Bodies of one topology to learn from: generated people, and folders of meshes; their features, kept on disk."""
