"""Estimators of the update of a GTN's parameters."""
