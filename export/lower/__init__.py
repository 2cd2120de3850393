"""Rewrites a network on clips `N C T H W` exactly into one for mobile runtimes: rank 4 and below, no Conv3d.

In the lowered graph an activation `N C T H W` exists in one or both of two forms (see `volume`):

- frames `(N*T, C, H, W)`: for spatial operators (Conv2d, pooling over H and W);
- plane `(N, C, T, H*W)`: for temporal operators, as Conv2d and pooling with kernels `(k, 1)`.

Elementwise operators use whichever form is available. A form is written only when an operator needs it. Zero
padding, in time too, is always the implicit padding of a convolution: no Pad and no Slice is added.

The files: `program` traverses the captured graph and looks up `RULES`; `lowering` is its interface for rules;
`writer` writes the new graph; `convolution`, `normalisation`, `pooling`, `elementwise`, `reshaping` hold the rules.
"""

from export.lower.program import lower

__all__ = ["NOTES", "ROUNDED_ANEW", "lower"]

NOTES = "notes"
"""Key of a lowered graph's `meta`: sentences for the notes of the file, such as the reason for a form."""

ROUNDED_ANEW = "rounded_anew"
"""Key of the `meta` of a rewritten int8 graph: whether its numbers differ from those of the reference."""
