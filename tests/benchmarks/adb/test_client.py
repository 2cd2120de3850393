"""The real adb client against emulated phones: how one is found, commands, files, and every refusal."""

import pytest

from benchmarks.adb.client import TimedOut, find_phone
from benchmarks.device import Unavailable
from tests.benchmarks.adb.emulated_phone import EmulatedPhone


def test_a_missing_client_is_named_with_the_way_to_install_it():
    with pytest.raises(Unavailable, match=r"'/no/adb' cannot be started \(No such file.*apt install adb"):
        find_phone("/no/adb", None)


def test_without_a_phone_the_message_says_how_to_connect_one(adb):
    with pytest.raises(Unavailable, match="adb sees no phone: switch on USB debugging"):
        find_phone("adb", None)


def test_the_only_phone_is_found_without_its_serial_number(phone):
    assert find_phone("adb", None).serial == phone.serial


def test_several_phones_need_a_serial_number(phone, adb, tmp_path):
    with EmulatedPhone(tmp_path / "second") as second:
        adb("connect", second.serial)
        with pytest.raises(
            Unavailable, match=rf"several phones: .*{second.serial} \(device\).*give one.*`serial`"
        ):
            find_phone("adb", None)
        assert find_phone("adb", second.serial).shell("echo here").text == "here\n"
        assert second.commands and not phone.commands


def test_an_unknown_serial_number_is_refused_with_those_that_are_there(phone):
    with pytest.raises(Unavailable, match=rf"'R5CT' ?.*; it sees {phone.serial} \(device\)"):
        find_phone("adb", "R5CT")


def test_an_unauthorised_phone_says_what_to_accept(adb, tmp_path):
    with EmulatedPhone(tmp_path / "phone") as emulated:
        emulated.troubles.unauthorised = True
        adb("connect", emulated.serial)
        with pytest.raises(
            Unavailable, match=f"{emulated.serial} (has not authorised|is waiting).*USB debugging"
        ):
            find_phone("adb", emulated.serial)


def test_an_offline_phone_says_how_to_connect_it_again(phone):
    phone.vanish()
    with pytest.raises(
        Unavailable, match=r"(is offline: connect it again|sees no phone with the serial number)"
    ):
        find_phone("adb", phone.serial)


def test_a_command_gives_output_errors_and_exit_code(phone):
    output = find_phone("adb", None).shell("echo out; echo err >&2; exit 3")
    assert (output.text, output.code) == ("out\nerr\n", 3)


def test_a_phone_with_the_old_shell_gives_the_exit_code_too(adb, tmp_path):
    with EmulatedPhone(tmp_path / "phone", features="cmd") as old:
        adb("connect", old.serial)
        output = find_phone("adb", None).shell("printf 'no newline'; false")
        assert (output.text, output.code) == ("no newline", 1)


def test_a_command_that_does_not_end_is_given_up(phone):
    with pytest.raises(TimedOut, match=r"did not end within 0\.5 s"):
        find_phone("adb", None).shell("sleep 60", limit_s=0.5)


def test_files_and_folders_arrive_unchanged_in_both_directions(phone, tmp_path):
    found = find_phone("adb", None)
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    contents = {"a.bin": bytes(range(256)) * 2000, "in/b.bin": b"\0\r\n\xff", "empty": b""}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    found.make_folder("/data/local/tmp/here/deeper")
    found.push(folder, "/data/local/tmp/here/deeper")
    assert {name: (phone.tmp / "here/deeper/folder" / name).read_bytes() for name in contents} == contents
    (tmp_path / "back").mkdir()
    found.pull("/data/local/tmp/here/deeper/folder", tmp_path / "back")
    assert {name: (tmp_path / "back/folder" / name).read_bytes() for name in contents} == contents


def test_a_full_disk_is_named_with_the_setting_for_another_folder(phone, tmp_path):
    (tmp_path / "file").write_bytes(bytes(5000))
    phone.troubles.storage_bytes = 4999
    with pytest.raises(
        Unavailable, match=r"storage is full, file could not be written.*give another `folder`"
    ):
        find_phone("adb", None).push(tmp_path / "file", "/data/local/tmp/file")


def test_a_folder_that_cannot_be_made_is_refused(phone):
    (phone.tmp / "file").write_text("")
    with pytest.raises(
        Unavailable, match=r"cannot make the folder /data/local/tmp/file/in \(.*Not a directory"
    ):
        find_phone("adb", None).make_folder("/data/local/tmp/file/in")


def test_a_phone_that_vanishes_during_a_command_is_lost_and_not_silent(phone):
    found = find_phone("adb", None)
    phone.troubles.vanish_in = "echo begins"
    with pytest.raises(Unavailable, match=rf"phone {phone.serial}.*(offline|connection was lost)"):
        found.shell("echo begins; sleep 30")


def test_a_file_that_is_not_there_cannot_be_pulled(phone, tmp_path):
    with pytest.raises(Unavailable, match=r"`adb pull` failed: .*does not exist"):
        find_phone("adb", None).pull("/data/local/tmp/nothing", tmp_path)
