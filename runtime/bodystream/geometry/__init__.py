"""Pure geometry on numpy arrays: rotations, rigid transforms, cameras, meshes."""
