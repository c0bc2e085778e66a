"""What a session came to, as figures: reports of capture and of driving."""
