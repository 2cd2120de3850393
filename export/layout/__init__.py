"""How a lowered network lays out its frames: per frame, in stream order, or with taps over time fused."""
