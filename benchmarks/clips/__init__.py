"""Reads clips: rows of a manifest -> decoded frames, sound and text -> batches for a network.

`rows` reads manifests, `container` opens files, `pictures` decodes frames, `frames` and `sound` cut clips out of
them, `text` makes tokens, `workers` runs decoders in processes of their own, `store` keeps what they decoded,
`cache` offers it as batches, `views` and `corruptions` change clips.
"""
