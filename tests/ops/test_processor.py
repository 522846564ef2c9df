"""What tells one CPU from another."""

import platform

import pytest

from jaxcnn.ops.processor import processor

KINDS = {
    "x86": (
        "processor : 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor : 1\nmodel name : other\n",
        "AMD EPYC, family 25, model 17",
    ),
    "no numbers": ("model name : Cortex: A76\n", "Cortex: A76"),
}


@pytest.mark.parametrize(("text", "expected"), KINDS.values(), ids=KINDS)
def test_name_is_that_of_the_first_core(tmp_path, text, expected):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert processor(file) == expected


@pytest.mark.parametrize("text", [None, "", "CPU implementer : 0x41\n"], ids=["no file", "empty", "no name"])
def test_without_a_name_it_is_what_python_knows(tmp_path, text):
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    assert processor(file) == (platform.processor() or platform.machine())
