"""Reads clips: rows of a manifest -> decoded video, audio and text -> batches for a network.

`rows` reads manifests, `formats` lists the supported containers, `limits` bounds their resources, `container`
opens them, `stamps` and `tracks` find the start and end of their streams, `display_order` the presentation order
of frames where a file does not specify it, `pictures` decodes frames, `frames` and `sound` extract clips,
`passing` iterates over the frames of a video, `text` tokenizes, `processes` runs decoders in separate processes,
`store` caches decoded values, `cache` provides them as batches, `augmentation` and `corruptions` transform clips.
"""
