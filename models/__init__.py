"""Networks: torch only, no other package of this project."""
