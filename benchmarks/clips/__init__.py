"""Reads clips: rows of a manifest -> decoded frames, sound and text -> batches for a network.

`rows` reads manifests, `container` opens files, `frames` and `sound` decode them, `text` makes tokens,
`workers` runs decoders in processes of their own, `store` keeps what they decoded, `cache` offers it as batches.
"""
