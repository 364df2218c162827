"""Stock agents in finished environments: comparison, figures, verdicts."""
