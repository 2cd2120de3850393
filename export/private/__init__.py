"""Private APIs of other libraries: one module per library, named after it, and nowhere else in this package.

Public APIs are used wherever they exist. Each module states the version it was written for; its test fails for any
other, so that an upgrade begins with a review.
"""
