"""The pipeline: recipe, stages, report."""
