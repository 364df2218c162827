"""How learners train and how they are scored."""
