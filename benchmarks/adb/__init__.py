"""Android phones over USB or Wi-Fi, through the user's `adb` client and prebuilt runners of the runtimes.

`settings` connects to a `phone`, which opens a `session` per file: it copies the file and its runner (`runners`),
waits until the phone is cool (`thermal`), and reads times, memory and logits from what the runner prints and
writes. `client` runs `adb` and explains its refusals. Never tried on a real phone: the tests use an emulation.
"""
