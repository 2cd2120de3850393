"""Checks a written file: runs it, compares its outputs with torch, and looks up its operators' kernels."""
