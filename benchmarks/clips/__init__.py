"""Reads clips: rows of a manifest -> decoded frames, sound and text -> batches for a network.

`rows` reads manifests, `formats` says which kinds of files are opened and `limits` how much they may ask for,
`container` opens them, `stamps` and `tracks` find out when they begin and end, `display_order` in which order
frames are shown where a file does not say, `pictures` decodes frames, `frames` and `sound` cut clips out of
them, `passing` gives one frame after another, `text` makes tokens, `workers` runs decoders in processes of
their own, `store` keeps what they decoded, `cache` offers it as batches, `views` and `corruptions` change
clips.
"""
