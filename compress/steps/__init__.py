"""The steps of a run, one file each; results of a step are cached by everything that determines them."""
