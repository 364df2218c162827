"""Stages of a run: fillings of the outer loop's slots."""
