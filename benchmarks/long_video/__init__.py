"""Classifies whole videos of any length with an exported file, in constant memory.

A video is divided into windows, each window is one input clip of the network, and the predictions for all windows
are aggregated. `windows` defines start and end of windows, `change` detects changes of the image, `tapes` buffers
the last seconds of video and audio, `segments` decodes a file once, window by window, `aggregate` combines the
predictions, `classify` runs all steps.
"""
