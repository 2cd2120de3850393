"""Studies and generated documents of the maintainers: no run of a recipe imports them."""
