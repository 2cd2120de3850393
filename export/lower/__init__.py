"""Exact rewriting of a network on clips `N C T H W` into one that phones run: rank 4 and below, no Conv3d.

Inside the lowered graph an activation `N C T H W` exists in one or both of two forms (see `volume`):

- frames `(N*T, C, H, W)`: what spatial work (Conv2d, pooling over H and W) takes;
- plane `(N, C, T, H*W)`: what work along time takes, as Conv2d and pooling with kernels `(k, 1)`.

Pointwise and elementwise work is done in whichever form is at hand. A form is written only when somebody needs it.
Zero padding, in time too, is always the implicit padding of a convolution: no Pad and no Slice is added.

The files: `program` walks the captured graph and looks up `RULES`; `lowering` is what rules see of the walk;
`writer` writes the new graph; `convolution`, `normalisation`, `pooling`, `elementwise`, `reshaping` hold the rules.
"""

from export.lower.program import lower

__all__ = ["NOTES", "ROUNDED_ANEW", "lower"]

NOTES = "notes"
"""Key of a lowered graph's `meta`: sentences for the notes of the file, such as why a form was chosen."""

ROUNDED_ANEW = "rounded_anew"
"""Key of the `meta` of an int8 graph that was rewritten: whether its numbers are others than those of
the reference."""
