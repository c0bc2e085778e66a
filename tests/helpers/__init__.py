"""What several tests share: scenes, fakes, references, and how tests ask for what may be absent."""
