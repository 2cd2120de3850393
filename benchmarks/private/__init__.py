"""Private APIs of other libraries: one module per library, used nowhere else in this package.

Public APIs are preferred where they exist. Each module states the version that it was written for; its test fails
on any other, so that an upgrade requires a review of the module.
"""
