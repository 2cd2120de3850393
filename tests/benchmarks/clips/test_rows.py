import pytest

from benchmarks.clips.rows import read_folder, read_manifest


def write(tmp_path, text, files=("a.mp4", "b.mp4")):
    for name in files:
        (tmp_path / name).touch()
    path = tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_with_times_text_and_several_labels(tmp_path):
    path = write(
        tmp_path,
        "path,split,word,slot,text,start_s,end_s\n"
        "a.mp4,train,bin,command,bin blue,0.5,0.9\n"
        '"b.mp4",test,blue,color,"bin, blue",,\n',
    )
    first, second = read_manifest(path, labels=["word", "slot"], pad_s=0.1)
    assert (first.path, first.split, first.labels) == (
        tmp_path / "a.mp4",
        "train",
        {"word": "bin", "slot": "command"},
    )
    assert (first.start_s, first.end_s, first.pad_s, first.text) == (0.5, 0.9, 0.1, "bin blue")
    assert (second.start_s, second.end_s, second.text) == (None, None, "bin, blue")
    assert read_manifest(path, labels=["word"], text_column=None)[0].text == ""


def test_where_and_exclude_choose_rows_before_they_are_checked(tmp_path):
    path = write(
        tmp_path, "path,split,word,slot\na.mp4,train,bin,command\nb.mp4,train,a,letter\nno.mp4,what,,digit\n"
    )
    assert [
        row.labels["word"] for row in read_manifest(path, labels=["word"], where={"slot": ["command"]})
    ] == ["bin"]
    kept = read_manifest(path, labels=["word"], exclude={"slot": ["letter", "digit"]})
    assert [row.labels["word"] for row in kept] == ["bin"]


def test_all_faults_are_reported_at_once_with_lines(tmp_path):
    path = write(
        tmp_path,
        "path,split,label,start_s,end_s\n"
        "a.mp4,train,x,0.5,0.9\n"
        "a.mp4,val,x,0,1\n"
        "c.mp4,train,x,0,1\n"
        "b.mp4,train,,0,1\n"
        "b.mp4,train,x,2,1.5\n"
        "b.mp4,train,x,soon,-3\n"
        "a.mp4,train,y,0.5,0.9\n"
        ",train,y,,\n",
    )
    with pytest.raises(ValueError, match="8 faults") as caught:
        read_manifest(path, labels=["label"])
    for expected in (
        "line 3: no split 'val'",
        "(available: train, validation, test, unlabeled)",
        "line 4: no such file",
        "line 5: label label is '': give a class",
        "line 6: end_s 1.5 is not after start_s 2",
        "line 7: start_s is 'soon': give seconds",
        "line 7: end_s is '-3'",
        "line 8: repeats line 2 (same path, split, start_s and end_s)",
        "line 9: path is empty",
    ):
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    "text, labels, kwargs, message",
    [
        ("path,split,lable\na.mp4,train,x\n", ["label"], {}, "no column 'label'; nearest: 'lable'"),
        ("path,split,x,x\na.mp4,train,1,2\n", ["x"], {}, "column 'x' appears twice"),
        ("path,split,x\na.mp4,train\n", ["x"], {}, "line 2: 2 cells, but the header has 3 columns"),
        ("path,split,x\n", ["x"], {}, "has no rows"),
        ("", ["x"], {}, "has no rows"),
        ("path,split,x\na.mp4,train,1\n", ["x"], {"where": {"x": ["2"]}}, "no value in column x '2'"),
        ("path,split,x\na.mp4,train,1\n", ["x"], {"exclude": {"y": ["2"]}}, "no column 'y'"),
        ("path,split,x\na.mp4,train,1\n", ["x"], {"text_column": "caption"}, "no column 'caption'"),
        (
            "path,split,x\na.mp4,train,1\n",
            ["x"],
            {"exclude": {"x": ["1"]}},
            "no rows are left; the file has 1",
        ),
        ("path,split,x\na.mp4,train, 1\n", ["x"], {}, "without spaces around it"),
    ],
)
def test_faults_of_a_manifest(tmp_path, text, labels, kwargs, message):
    with pytest.raises(ValueError, match=r"fault|no rows") as caught:
        read_manifest(write(tmp_path, text), labels=labels, **kwargs)
    assert message in str(caught.value)


def test_many_faults_are_counted(tmp_path):
    path = write(tmp_path, "path,split,x\n" + "c.mp4,train,1\n" * 50)
    with pytest.raises(ValueError, match=r"99 faults\n(.*\n){20}  \.\.\. and 79 more"):
        read_manifest(path, labels=["x"])


def test_what_is_no_csv(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such manifest"):
        read_manifest(tmp_path / "absent.csv", labels=["x"])
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"path,split\n\xff\xfe\x00,train\n")
    with pytest.raises(ValueError, match="not a CSV in UTF-8"):
        read_manifest(binary, labels=["x"])


def test_folder_tree(tmp_path):
    for name in ("train/left/a.mp4", "train/right/b.mp4", "test/left/c.mp4", "train/.hidden/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = read_folder(tmp_path)
    assert [(row.split, row.labels["class"], row.path.name) for row in rows] == [
        ("test", "left", "c.mp4"),
        ("train", "left", "a.mp4"),
        ("train", "right", "b.mp4"),
    ]


def test_faults_of_a_folder_tree(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_folder(tmp_path / "absent")
    with pytest.raises(ValueError, match="contains no clips"):
        read_folder(tmp_path)
    for name in ("trian/left/a.mp4", "train/stray.mp4", "train/left/deep/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="3 faults") as caught:
        read_folder(tmp_path)
    assert "no split folder 'trian'; nearest: 'train'" in str(caught.value)
    assert "train/stray.mp4 is not a folder" in str(caught.value)
    assert "train/left/deep is a folder" in str(caught.value)


def test_a_repeated_row_with_another_label_is_a_contradiction(tmp_path):
    path = write(tmp_path, "path,split,x\na.mp4,train,1\na.mp4,train,2\na.mp4,test,1\n")
    (path.parent / "a.mp4").touch()
    with pytest.raises(
        ValueError, match=r"1 fault\n.*line 3: repeats line 2 .* contradicts it \(x '1' and '2'\)"
    ):
        read_manifest(path, labels=["x"])
