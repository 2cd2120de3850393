"""Which values of a lowered graph are int8 or stored in fewer bits, and what that costs."""
