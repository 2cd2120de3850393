"""Measures exported files on devices. Depends on neither the pipeline of `compress` nor on `export`.

`DEVICES` lists all devices; a new one is one line here and one module with `describe()` and
`open_session(file)`. Importing this package loads no runtime and no torch.
"""

from benchmarks import host
from benchmarks.device import Device

DEVICES: dict[str, Device] = {
    "host": Device(describe=host.describe, open=host.open_session),
}
