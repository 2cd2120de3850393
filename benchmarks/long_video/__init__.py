"""Classifies whole videos, of any length, with an exported file and in memory that does not grow with them.

A video is cut into windows, each window is a clip as the network knows it, and the answers to all windows become
one answer for the video. `windows` says where windows begin and end, `change` how much a picture differs from those
before it, `tapes` hold the last seconds of picture and sound, `segments` decodes a file once, window by window,
`aggregate` joins the answers, `classify` does it all.
"""
