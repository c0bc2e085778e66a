"""Headsets and recordings of them: head and hands with timestamps."""
