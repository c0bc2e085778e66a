"""What we are compared with, each behind the same inputs as ours."""
