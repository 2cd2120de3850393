"""Predicts from short trainings whether a teacher will help a student."""
