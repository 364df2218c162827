"""Distillation of behaviour and learned rewards."""
