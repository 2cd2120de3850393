"""The thermal state of a phone, and waiting until it has cooled."""

import pytest

from benchmarks.adb.client import find_phone
from benchmarks.adb.thermal import Cooling, Thermal, parse_thermal
from benchmarks.device import Unavailable
from tests.benchmarks.adb.emulated_phone import DUMP


def _cooling(*, limit=1, budget_s=60.0):
    return Cooling(find_phone("adb", None), limit=limit, budget_s=budget_s)


def test_the_state_is_that_of_now_and_not_the_cached_one():
    assert parse_thermal(DUMP.format(status=2)) == Thermal(status=2, skin_c=34.4)


def test_a_throttling_skin_sensor_counts_where_the_status_of_the_system_is_silent():
    dump = DUMP.format(status=0).replace(
        "mValue=34.4, mType=3, mName=SKIN, mStatus=0", "mValue=50.8, mType=3, mName=SKIN, mStatus=3"
    )
    assert parse_thermal(dump) == Thermal(status=3, skin_c=50.8)
    assert str(parse_thermal(dump)) == "severe (3), skin 50.8 °C"


@pytest.mark.parametrize(
    "dump", ["", "Thermal Status: unknown", "Thermal Status: 9", "Can't find service: thermalservice"]
)
def test_what_does_not_tell_the_state_gives_none(dump):
    assert parse_thermal(dump) is None


def test_a_status_without_temperatures_is_read():
    assert parse_thermal("Thermal Status: 1\n") == Thermal(status=1, skin_c=None)


def test_a_cool_phone_is_measured_at_once_and_without_a_note(phone):
    cooling = _cooling()
    cooling.wait()
    assert cooling.notes() == ()


def test_a_hot_phone_is_waited_for(phone):
    phone.troubles.thermal = (3, 2, 1)
    cooling = _cooling()
    cooling.wait()
    assert sum("dumpsys" in one for one in phone.commands) == 3
    assert cooling.notes() == ("waited 1.5 s in total for the phone to cool",)


def test_a_phone_that_stays_hot_is_measured_with_a_note_that_says_so(phone):
    phone.troubles.thermal = (3,)
    cooling = _cooling(budget_s=0.1)
    cooling.wait()
    cooling.wait()
    waited, hot = cooling.notes()
    assert waited == "waited 0.1 s in total for the phone to cool"
    assert hot.startswith(
        "2 of 2 runs began at thermal status severe (3), skin 34.4 °C, above the limit light (1)"
    )
    assert "figures are those of a throttled phone" in hot


def test_a_phone_that_is_about_to_switch_off_is_not_measured(phone):
    phone.troubles.thermal = (6,)
    with pytest.raises(
        Unavailable, match=r"thermal status is shutdown \(6\).*about to switch off; let it cool"
    ):
        _cooling(budget_s=0).wait()


def test_a_phone_without_the_service_is_measured_with_a_note(phone):
    phone.troubles.thermal = ()
    cooling = _cooling()
    cooling.wait()
    (note,) = cooling.notes()
    assert note.startswith("the phone does not report its thermal state")
