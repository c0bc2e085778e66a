"""Live capture: the stages wired to one frame, the session around them, its files."""
