"""Measures exported files on devices. Knows files, clips and devices; nothing of `compress` or `export`.

`DEVICES` is the whole list of devices; a new one is one line here and one module with `describe()` and
`open_session(file)`. Importing this package loads no runtime and no torch.
"""

from benchmarks import host
from benchmarks.device import Device

DEVICES: dict[str, Device] = {
    "host": Device(describe=host.describe, open=host.open_session),
}
"""Every device by name."""
