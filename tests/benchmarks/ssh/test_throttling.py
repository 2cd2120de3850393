"""Clock and temperature while a file ran; a clock that falls by more than 15 % is throttling."""

from benchmarks.ssh.throttling import Clocks


def notes(clocks_mhz, temperatures_c=()):
    clocks = Clocks()
    for place, clock_mhz in enumerate(clocks_mhz):
        temperature_c = temperatures_c[place] if temperatures_c else None
        clocks.add(clock_mhz=clock_mhz, temperature_c=temperature_c)
    return clocks.notes()


def test_a_falling_clock_is_throttling():
    assert notes([2400, 2400, 2000, 1800, 1650, 1650], [51.8, 52, 70, 78, 80, 81.2]) == (
        "throttled (cool the board and measure again): -31%, clock 2400 to 1650 MHz, 52 to 81 °C",
    )
    assert notes([2400, 2000, 1500]) == (
        "throttled (cool the board and measure again): -38%, clock 2400 to 1500 MHz",
    )


def test_a_steady_clock_and_one_slow_reading_are_not():
    assert notes([2400] * 6, [50] * 6) == ("clock 2400 to 2400 MHz, 50 to 50 °C",)
    assert notes([2400, 2400, 2400, 2050, 2050, 2050]) == ("clock 2400 to 2050 MHz",)
    assert notes([2400] * 8 + [1200]) == ("clock 2400 to 2400 MHz",)
    assert notes([1500, 2000, 2400]) == ("clock 1500 to 2400 MHz",)


def test_without_readings_nothing_is_said():
    assert notes([2400, 1200]) == ()
    assert notes([None] * 6) == ()
    assert notes([None] * 6, [50] * 6) == ("50 to 50 °C",)
