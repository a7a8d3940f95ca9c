from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from elegans_pyg.dynamics import Worm
from elegans_pyg.plots import body_animation
from elegans_pyg.plots.body import FRAME_MS, FRAMES, somata


def test_every_neuron_has_its_place_in_the_body() -> None:
    names = Worm("c302-C1").neuron_name
    places = somata(names).set_index("name")
    assert set(places.index) == set(names)
    assert [names[row] for row in places["row"]] == list(places.index)
    along = places["along_um"]
    # The motor neurons of a class are numbered from head to tail, but for DB2 and VB2, which lie before DB1 and VB1; PLM lies in the
    # tail, and the amphid's neurons in the head.
    for kind, first, count in (("DB", 2, 7), ("VB", 2, 11), ("VD", 1, 13), ("DD", 1, 6), ("AS", 1, 11), ("VA", 1, 12)):
        assert (np.diff([along[f"{kind}{number}"] for number in range(first, count + 1)]) > 0).all(), kind
    assert along["ASEL"] < 0.25 * along.max() < 0.85 * along.max() < along["PLML"]
    # The ventral cord lies below the neurons of the back, and left and right cells are mirrored.
    assert places["up_um"]["RID"] > places["up_um"]["VB5"]
    assert places["left_um"]["ASEL"] > places["left_um"]["ASER"]


def test_animation_shows_all_frames_in_order() -> None:
    time = np.arange(1, 201) * 0.5
    voltage = np.full((200, 3), -45.0)
    voltage[100:, 1] = 20
    movie = Image.open(BytesIO(body_animation(time, voltage, ["PLML", "AVBL", "XYZ"], {"driven": ["PLML"], "recorded": ["AVBL"]})))
    assert movie.format == "GIF"
    assert movie.n_frames == FRAMES
    assert movie.info["duration"] == FRAME_MS
    shown = []
    for frame in (0, FRAMES - 1):
        movie.seek(frame)
        shown.append(np.asarray(movie.convert("RGB")).astype(int))
    # cividis ends in yellow: AVBL, and the bar of time, have changed.
    yellow = [int(((image[..., 0] > 200) & (image[..., 2] < 110)).sum()) for image in shown]
    assert yellow[1] > yellow[0]


def test_no_animation_of_neurons_without_a_place() -> None:
    assert body_animation(np.arange(3.0), np.zeros((3, 1)), ["N0"]) == b""
    with pytest.raises(ValueError, match=r"voltage_mV: expected \(3, 1\)"):
        body_animation(np.arange(3.0), np.zeros((3, 2)), ["N0"])
