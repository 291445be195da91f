"""Decoded images that all processes of a machine share."""

import copy
import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest
import torch

from crnas_d2.data.images import shared_images as module
from crnas_d2.data.images.image_records import append_record, whole_records
from crnas_d2.data.images.shared_images import NoRoomError, shared_images

NUM_IMAGES = 6
SHAPE = (3, 64, 50)


def inputs(number: int) -> dict:
    generator = torch.Generator().manual_seed(number)
    image = torch.randint(256, SHAPE, generator=generator, dtype=torch.uint8)
    return {"image_id": number, "image": image, "instances": ["any", number]}


def inputs_from(first: int):
    return map(inputs, range(first, NUM_IMAGES))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the files are, instead of the temporary folder of the machine."""
    folder = tmp_path / "images"
    monkeypatch.setattr(module, "image_folders", lambda: [folder])
    return folder


def opened(name="letters", produce=inputs_from, limit=2**30):
    return shared_images(name, NUM_IMAGES, produce, limit=limit)


def never(first):
    raise AssertionError("decoded again")


def in_fork(work) -> int:
    """Starts a process that runs ``work``; its exit status is 0 if nothing was raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(images) -> None:
    assert len(images) == NUM_IMAGES
    for number, found in enumerate(images):
        expected = inputs(number)
        assert found.keys() == expected.keys() and list(found) == list(expected)
        assert torch.equal(found["image"], expected["image"])
        assert found["image"].dtype == torch.uint8
        assert found["instances"] == expected["instances"]


def test_images_come_back_as_they_were_and_the_last_process_removes_the_file(folder):
    images = opened()
    check(images)
    again = opened(produce=never)
    del images
    check(again)
    assert [path.name for path in folder.iterdir()] == ["letters.images"]
    del again
    assert list(folder.iterdir()) == []


def mapped_file(folder):
    """Inode, and sizes in KiB by name, of the one file of the folder that this process maps."""
    text = Path("/proc/self/smaps").read_text()
    (found,) = re.findall(rf"^\S+ \S+ \S+ \S+ (\d+) +{folder}.*\n((?:[A-Z].*\n)+)", text, re.M)
    sizes = {key: int(kib) for key, kib in re.findall(r"^(\w+): +(\d+) kB", found[1], re.M)}
    return int(found[0]), sizes


def test_two_processes_share_one_copy(folder):
    first = opened()
    assert sum(int(found["image"].sum()) for found in first) > 0  # all of it is read
    inode, alone = mapped_file(folder)
    assert alone["Pss"] >= NUM_IMAGES * 3 * 64 * 50 // 1024

    (ready, has_read), (finish, finished) = os.pipe(), os.pipe()

    def beside():
        second = opened(produce=never)
        check(second)
        os.write(has_read, b"x")
        os.read(finish, 1)

    pid = in_fork(beside)
    os.read(ready, 1)
    same_inode, together = mapped_file(folder)
    os.write(finished, b"x")
    assert ended(pid) == 0
    assert same_inode == inode and [path.stat().st_ino for path in folder.iterdir()] == [inode]
    # This process is charged with its share alone.
    assert together["Rss"] == alone["Rss"] and together["Pss"] <= alone["Pss"] / 2


def test_what_a_process_changes_stays_in_it(folder):
    images, others = opened(), opened(produce=never)
    images[0]["image"].zero_()
    check(others)


def test_a_copy_of_an_image_holds_that_image_alone():
    copied = copy.deepcopy(opened()[2])
    assert copied["image"].untyped_storage().nbytes() == 3 * 64 * 50


def test_several_processes_that_start_at_once_decode_each_image_once(folder, tmp_path):
    log = tmp_path / "decoded"

    def slow(first):
        for number in range(first, NUM_IMAGES):
            time.sleep(0.02)
            with open(log, "a") as stream:
                stream.write(f"{number}\n")
            yield inputs(number)

    (ready, has_opened), (finish, finished) = os.pipe(), os.pipe()

    def work():
        images = opened(produce=slow)
        os.write(has_opened, b"x")
        os.read(finish, 1)
        check(images)

    pids = [in_fork(work) for _ in range(4)]
    for _ in pids:
        os.read(ready, 1)
    os.write(finished, b"xxxx")
    assert [ended(pid) for pid in pids] == [0] * 4
    assert log.read_text().split() == [str(number) for number in range(NUM_IMAGES)]


def kill_after(count):
    """Leaves the file of a process that was killed while it decoded."""

    def killed(first):
        yield from map(inputs, range(first, count))
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(in_fork(lambda: opened(produce=killed))) == -signal.SIGKILL


def test_what_a_killed_process_has_begun_is_continued(folder):
    kill_after(4)
    kill_after(5)
    asked = []

    def rest(first):
        asked.append(first)
        return inputs_from(first)

    check(opened(produce=rest))
    assert asked == [5]


@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
def test_a_damaged_end_is_decoded_again(folder, damage):
    kill_after(4)
    (partial,) = folder.iterdir()
    content = bytearray(partial.read_bytes())
    if damage == "cut":
        del content[-1000:]
    elif damage == "changed":
        content[-1000] ^= 1
    else:
        content += bytes(5000)
    partial.write_bytes(content)
    asked = []
    check(opened(produce=lambda first: asked.append(first) or inputs_from(first)))
    assert asked == [4 if damage == "longer" else 3]


def test_a_process_takes_over_from_one_that_is_killed_while_it_waits(tmp_path):
    started = tmp_path / "started"

    def hanging(first):
        yield inputs(0)
        started.touch()
        time.sleep(60)

    pid = in_fork(lambda: opened(produce=hanging))
    while not started.exists():
        time.sleep(0.01)
    waiting = in_fork(lambda: check(opened()))
    time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL and ended(waiting) == 0


def test_leftovers_are_removed_with_the_last_images_and_those_in_use_are_not(folder):
    kill_after(2)
    leftover = folder / "letters.partial"
    assert leftover.exists()
    used, other = opened("used"), opened("other")
    assert leftover.exists()  # a resumed search would continue it
    del other
    assert [path.name for path in folder.iterdir()] == ["used.images"]
    check(used)


def test_a_fork_does_not_remove_the_images_of_its_parent(folder):
    images = opened()

    def forget():
        nonlocal images
        del images

    assert ended(in_fork(forget)) == 0
    assert [path.name for path in folder.iterdir()] == ["letters.images"]
    check(opened(produce=never))


def test_too_many_images_are_refused_and_leave_nothing(folder, monkeypatch):
    monkeypatch.setattr(module, "_JUDGED", 2)  # all but the first two are not decoded
    with pytest.raises(NoRoomError, match=r"take 5.4\de-05 GiB, and SEARCH.IMAGE_CACHE is 1e-05"):
        opened(limit=1e-5 * 2**30)
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(module, "_free", lambda folder: 20000.0)
    with pytest.raises(NoRoomError, match=rf"5.4.*, and 3.6.*e-05 GiB can be used in {folder}"):
        opened()
    assert list(folder.iterdir()) == []


def test_what_a_killed_process_left_makes_room(folder, monkeypatch):
    kill_after(5)
    free = lambda folder: -1.0 if (folder / "letters.partial").exists() else 1e9  # noqa: E731
    monkeypatch.setattr(module, "_free", free)
    check(opened("other"))


def test_the_next_folder_is_used_if_one_is_full_or_belongs_to_others(folder, tmp_path, monkeypatch):
    full, open_to_all = tmp_path / "full", tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setattr(module, "image_folders", lambda: [full, open_to_all, folder])
    monkeypatch.setattr(module, "_free", lambda folder: -1.0 if folder == full else 1e9)
    images = opened()
    check(images)
    check(opened(produce=never))
    assert list(full.iterdir()) == list(open_to_all.iterdir()) == []
    monkeypatch.setattr(module, "image_folders", lambda: [full, open_to_all])
    with pytest.raises(NoRoomError, match=f"can be used in {full}; others may write to"):
        opened("others")


def test_the_disk_comes_before_the_memory_of_which_half_is_left(tmp_path, monkeypatch):
    monkeypatch.undo()  # the folder of these tests
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    disk, memory = module.image_folders()
    assert disk.parent == tmp_path and memory.parent == Path("/dev/shm")
    disk.mkdir()
    assert abs(shutil.disk_usage(disk).free - 2**30 - module._free(disk)) < 2**29
    monkeypatch.setattr(module, "_available_memory", lambda: 2000)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as inside:
        assert module._free(Path(inside)) == 1000


def test_a_full_disk_while_writing_is_no_room(folder, monkeypatch):
    def full(stream, mapped):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "append_record", full)
    with pytest.raises(NoRoomError, match="No space left on device"):
        opened()
    assert list(folder.iterdir()) == []


def test_an_image_that_cannot_be_decoded_leaves_nothing(folder):
    def broken(first):
        yield inputs(0)
        raise ValueError("The image 001.png cannot be used")

    with pytest.raises(ValueError, match=r"001\.png"):
        opened(produce=broken)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.bfloat16])
def test_images_of_other_types_keep_them(dtype):
    pixels = torch.linspace(-3, 3, 105).view(3, 5, 7).to(dtype)
    images = shared_images("x", 1, lambda _: [{"image": pixels.mT}], limit=2**20)
    assert images[0]["image"].dtype == dtype and torch.equal(images[0]["image"], pixels.mT)


def test_records_end_with_the_last_whole_one(tmp_path):
    with open(tmp_path / "records", "w+b") as stream:
        assert whole_records(stream) == 0
        for number in range(3):
            append_record(stream, {"image_id": number, "image": torch.full((3, 64, 50), number)})
        size = stream.tell()
        assert whole_records(stream) == 3 and stream.seek(0, os.SEEK_END) == size
        stream.truncate(size - 1)
        assert whole_records(stream) == 2 and stream.seek(0, os.SEEK_END) < size
