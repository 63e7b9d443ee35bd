"""Data sets, their fixed splits, and the bank of augmented views."""
