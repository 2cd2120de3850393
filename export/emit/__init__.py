"""The writers: one package per format, with all that is known of its runtime."""
