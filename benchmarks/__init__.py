"""Measures exported files on devices. Knows files, clips and devices; nothing of `compress` or `export`.

`DEVICES` is the whole list of devices; a new one is one line here and one module with `describe()` and
`measure(export_dir, ...)`. Importing this package loads no runtime and no torch.
"""

from benchmarks import host
from benchmarks.device import Device

DEVICES: dict[str, Device] = {
    "host": Device(describe=host.describe, measure=host.measure),
}
"""Every device by name."""
