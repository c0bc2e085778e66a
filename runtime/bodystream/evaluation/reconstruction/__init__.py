"""The reconstruction benchmark of DeepDeform: deformation and geometry error of a capture on annotated sequences."""
