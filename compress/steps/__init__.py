"""The steps of a run, one file each; every step is found again when nothing that can change it has changed."""
